"""Which size an image is stored in: img2dataset's resize modes."""

from __future__ import annotations

import math

from PIL import Image, ImageOps

from datagen.config import ResizeMode
from openwit.images.jpeg import Size


def resized(size: Size, mode: ResizeMode, image_px: int, only_if_bigger: bool) -> Size:
    """The size to which an image is scaled: its shorter side (keep_ratio, center_crop) or its longer one (border,
    keep_ratio_largest) becomes `image_px`; its own size where it stays as it is."""
    if mode == "no":
        return size
    side = min(size) if mode in ("keep_ratio", "center_crop") else max(size)
    if only_if_bigger and side <= image_px:
        return size
    width, height = (max(1, math.floor(length * image_px / side + 0.5)) for length in size)
    return width, height


def framed(image: Image.Image, mode: ResizeMode, image_px: int) -> Image.Image:
    """The scaled image cut (center_crop) or filled up with white (border) to a square of `image_px`."""
    width, height = image.size
    if mode == "center_crop":
        left, top = (width - image_px) // 2, (height - image_px) // 2
        return image.crop((left, top, left + image_px, top + image_px))
    if mode == "border":
        left, top = (image_px - width) // 2, (image_px - height) // 2
        return ImageOps.expand(image, (left, top, image_px - width - left, image_px - height - top), (255, 255, 255))
    return image
