"""Pictures of a sample, from JPEG to the training crop."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from models.preprocess import to_rgb
from openwit.errors import InputError

Pixels = npt.NDArray[np.uint8]


def decode_resized(encoded: bytes, resize_px: int) -> Pixels:
    """uint8 [H, W, 3], the shorter side `resize_px`, antialiased bicubic. Raises InputError where it is no picture.

    A JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) that leaves twice the pixels that are wanted a side.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            scale = resize_px / min(opened.size)
            opened.draft(None, (round(opened.width * scale * 2), round(opened.height * scale * 2)))
            opened.load()
            image = to_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:  # its own text holds an address, which differs from run to run
        raise InputError(f"not a readable picture ({len(encoded)} bytes): unknown format") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable picture ({len(encoded)} bytes): {error}") from None
    width, height = image.size
    shorter = min(width, height)
    size = (max(resize_px, width * resize_px // shorter), max(resize_px, height * resize_px // shorter))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def crop_square(pixels: Pixels, image_px: int, number: int) -> Pixels:
    """uint8 [image_px, image_px, 3] from a place that the 64 bits of `number` choose (the paper's only augmentation,
    section 2.5)."""
    height, width, _ = pixels.shape
    top = (number & 0xFFFFFFFF) % (height - image_px + 1)
    left = (number >> 32) % (width - image_px + 1)
    return pixels[top : top + image_px, left : left + image_px]
