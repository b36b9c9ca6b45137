"""Images of a sample, from JPEG to the training crop.

They are decoded as everywhere (`openwit.images`) and resized by torch. The plain twin is Pillow's decoder and resize,
three times slower: the pixels are the same within 0.04 grey levels in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from openwit.images import decode, decode_reduced
from openwit.images.decode import finish, load_plain
from openwit.images.header import U8
from openwit.images.reading import read_header
from openwit.images.shrink import REDUCING_GAP
from openwit.shards.tar import Encoded

Pixels = U8
AnyPixels = Pixels | Tensor  # uint8 [H, W, 3]; a Tensor where a device decoded it


def decode_resized(encoded: Encoded, resize_px: int, reduced: bool = True) -> Pixels:
    """uint8 [H, W, 3], the shorter side `resize_px`, antialiased bicubic. Raises InputError where it is no image.

    With `reduced`, a JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) that leaves twice the pixels that are
    wanted a side.
    """
    pixels = decode_reduced(encoded, REDUCING_GAP * resize_px) if reduced else decode(encoded)
    height, width = resized(pixels.shape[:2], resize_px)
    if (height, width) == pixels.shape[:2]:
        return pixels
    image_BCHW = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # channels last: torch's fast way, on one thread
    image_BCHW = F.interpolate(image_BCHW, (height, width), mode="bicubic", antialias=True)
    shrunk: Pixels = image_BCHW[0].permute(1, 2, 0).numpy()
    return shrunk


def decode_carefully(encoded: Encoded, resize_px: int, reduced: bool = True) -> Pixels:
    """What `decode_resized` gives, by Pillow alone."""
    header = read_header(encoded)
    factor = header.reduction((REDUCING_GAP * resize_px, REDUCING_GAP * resize_px)) if reduced else 1
    image = Image.fromarray(finish(load_plain(header, factor), header))
    height, width = resized((image.height, image.width), resize_px)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.array(image)


def resized(size: Sequence[int], resize_px: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side is made `resize_px`."""
    height, width = size
    shorter = min(height, width)
    return max(resize_px, height * resize_px // shorter), max(resize_px, width * resize_px // shorter)


def crop_square(pixels: AnyPixels, image_px: int, number: int) -> AnyPixels:
    """uint8 [image_px, image_px, 3], a view of the place that the 64 bits of `number` choose (the paper's only
    augmentation, section 2.5)."""
    height, width, _ = pixels.shape
    top = (number & 0xFFFFFFFF) % (height - image_px + 1)
    left = (number >> 32) % (width - image_px + 1)
    return pixels[top : top + image_px, left : left + image_px]
