"""From an encoded image to the image tower's input, as CLIP prepares its evaluation images.

Shapes: B batch · S image side in pixels.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.config import PreprocessConfig
from openwit.errors import InputError

OPENAI = PreprocessConfig()
MEAN_RGB, STD_RGB = OPENAI.mean, OPENAI.std
CACHED_IMAGES = 4
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def decode_image(encoded: bytes) -> Image.Image:
    """The image in RGB, upright, what is transparent laid over white. Raises InputError where it is no image."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable image ({len(encoded)} bytes): {error}") from None
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: alpha and palette transparency over white, 16-bit grey scaled to 8 bits."""
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16 bits at 255: a white image
        grey = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


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
