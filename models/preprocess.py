"""From an encoded image to the image tower's input, as CLIP prepares its evaluation images.

Shapes: B batch · S image side in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.config import PreprocessConfig
from openwit.images import decode
from openwit.images.color import resizable, to_srgb
from openwit.images.exif import orientation, turn_upright

OPENAI = PreprocessConfig()
MEAN_RGB, STD_RGB = OPENAI.mean, OPENAI.std
CACHED_IMAGES = 4
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def decode_image(encoded: bytes) -> Image.Image:
    """The image in sRGB, upright, what is transparent laid over white. Raises InputError where it is no image."""
    return Image.fromarray(decode(encoded))


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image in sRGB, upright by its EXIF: what is transparent over white, 16 bits scaled to 8, its own colour
    profile applied."""
    image.load()  # Pillow turns a TIFF as it loads it, and forgets how it lay
    exif = image.info.get("exif", b"") if image.format != "TIFF" else b""
    upright = turn_upright(np.asarray(to_srgb(resizable(image), image.info.get("icc_profile"))), orientation(exif))
    return Image.fromarray(upright)


def resize_and_crop(image: Image.Image, image_px: int, config: PreprocessConfig = OPENAI) -> Tensor:
    """uint8 [3, S, S]: the shorter side resized to `image_px`, antialiased, then the centre square; or both sides
    resized, where the config says "squash"."""
    width, height = image.size
    if config.resize_mode == "squash":
        size = (image_px, image_px)
    elif width <= height:
        size = (image_px, max(image_px, int(image_px * height / width)))
    else:
        size = (max(image_px, int(image_px * width / height)), image_px)
    if size != image.size:
        image = image.resize(size, RESAMPLING[config.interpolation])
    left, top = round((size[0] - image_px) / 2), round((size[1] - image_px) / 2)
    square = image.crop((left, top, left + image_px, top + image_px))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def normalize_pixels(pixels: Tensor, config: PreprocessConfig = OPENAI) -> Tensor:
    """float32 of the same shape [..., 3, S, S] and device, contiguous, from uint8 pixels in any memory format: /255,
    then the mean and deviation."""
    mean = torch.tensor(config.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(config.std, device=pixels.device).view(3, 1, 1)
    normal = torch.empty(pixels.shape, dtype=torch.float32, device=pixels.device)
    # A processor's cache holds a few images through all four passes, in memory that is taken once: a third of the
    # time that a whole batch takes pass by pass.
    at_once = CACHED_IMAGES if pixels.device.type == "cpu" else max(1, len(normal))
    whole, given = (tensor if tensor.ndim > 3 else tensor[None] for tensor in (normal, pixels))
    for part, source in zip(torch.split(whole, at_once), torch.split(given, at_once), strict=True):
        part.copy_(source).div_(255).sub_(mean).div_(std)
    return normal


def preprocess(image: Image.Image, image_px: int, config: PreprocessConfig = OPENAI) -> Tensor:
    """float32 [3, S, S] for the image tower from an image in any mode."""
    return normalize_pixels(resize_and_crop(to_rgb(image), image_px, config), config)
