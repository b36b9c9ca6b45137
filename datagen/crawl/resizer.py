"""What is stored of a fetched image: its first frame, upright, sRGB over white, resized, as JPEG.

The callable takes the place of img2dataset's `Resizer` and answers as it does. img2dataset calls it in one thread of a
worker, one image after another, so the memory of one decoding, which the header bounds, bounds the worker's.
"""

from __future__ import annotations

import math
from typing import IO

import cv2
import numpy as np

from datagen.config import CrawlConfig, ResizeMode
from openwit.images import DecodingLimits, ImageError
from openwit.images.decode import finish
from openwit.images.header import U8, Header, Size
from openwit.images.reading import read_header
from openwit.images.shrink import Shrinker, encode_jpeg, reduction_to

Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]

_JPEG_MAX_PX = 65_500


class ImageResizer:
    """img2dataset's `resizer` seam: (stream, boxes) → (JPEG, width, height, original width, original height, error).

    Sizes in pixels. An error starts with image_truncated, image_undecodable, image_too_large, image_too_small or
    image_aspect_ratio.
    """

    def __init__(self, config: CrawlConfig) -> None:
        self.config, self._shrinker = config, Shrinker()
        self._limits = DecodingLimits(config.max_image_pixels, config.max_decoding_bytes)
        cv2.setNumThreads(1)  # a worker has one core

    def __call__(self, img_stream: IO[bytes], blurring_bbox_list: object = None) -> Resized:
        try:
            return self._store(img_stream.read())
        except ImageError as error:
            return None, None, None, None, None, f"{error.reason}: {error.detail}"

    def _store(self, data: bytes) -> Resized:
        config = self.config
        header = read_header(data, self._limits)
        wanted = resized(header.size, config.resize_mode, config.image_px, config.resize_only_if_bigger)
        self._limits.check(header, reduction_to(header, wanted))
        self._check(header, wanted)
        pixels = finish(self._shrinker.scaled(header, wanted), header)
        if wanted != header.size or not config.resize_only_if_bigger:
            pixels = framed(pixels, config.resize_mode, config.image_px)
        height, width, _ = pixels.shape
        return encode_jpeg(pixels, config.jpeg_quality), width, height, *header.upright_size, None

    def _check(self, header: Header, wanted: Size) -> None:
        """Raises ImageError where the header alone tells that the image is not wanted."""
        config, (width, height) = self.config, header.size
        if min(width, height) < config.min_image_px:
            limit = f"the limit is {config.min_image_px} pixels a side"
            raise ImageError("image_too_small", f"{width}x{height}, {limit}")
        if config.max_aspect_ratio and max(width, height) > config.max_aspect_ratio * min(width, height):
            raise ImageError("image_aspect_ratio", f"{width}x{height}, the limit is {config.max_aspect_ratio:g} to 1")
        if max(wanted) > _JPEG_MAX_PX:
            limit = f"a JPEG has at most {_JPEG_MAX_PX} pixels a side"
            raise ImageError("image_aspect_ratio", f"{width}x{height}, {limit}")


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


def framed(pixels: U8, mode: ResizeMode, image_px: int) -> U8:
    """The scaled image [H, W, 3] cut (center_crop) or filled up with white (border) to a square of `image_px`."""
    height, width, _ = pixels.shape
    if mode == "center_crop":
        left, top = (width - image_px) // 2, (height - image_px) // 2
        return pixels[top : top + image_px, left : left + image_px]
    if mode == "border":
        left, top = (image_px - width) // 2, (image_px - height) // 2
        square = np.full((image_px, image_px, 3), 255, np.uint8)
        square[top : top + height, left : left + width] = pixels
        return square
    return pixels
