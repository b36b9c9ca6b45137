"""What is stored of a fetched image: its first frame, upright, sRGB over white, resized, as JPEG.

The callable takes the place of img2dataset's `Resizer` and answers as it does. img2dataset calls it in one thread of a
worker, one image after another, so the memory of one decoding, which the header bounds, bounds the worker's.
"""

from __future__ import annotations

import io
import re
import struct
from typing import IO

import cv2
import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from datagen.config import CrawlConfig
from datagen.crawl.resize_modes import framed, resized
from openwit.images.color import resizable, to_srgb
from openwit.images.header import FORMATS, ends_early, refusal
from openwit.images.jpeg import Shrinker, Size, encoded, reduction

Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]

_JPEGS = ("JPEG", "MPO")  # MPO: a JPEG with more of them behind it, of which the first is the image
_JPEG_MAX_PX = 65_500
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_TRUNCATED = re.compile(r"truncat|unexpected end|premature|not enough|too short|failed to read next frame", re.I)


class _Refused(Exception):
    """The image is not stored; the text begins with the reason's word."""


class ImageResizer:
    """img2dataset's `resizer` seam: (stream, boxes) → (JPEG, width, height, original width, original height, error).

    Sizes in pixels. An error starts with image_truncated, image_undecodable, image_too_large, image_too_small or
    image_aspect_ratio.
    """

    def __init__(self, config: CrawlConfig) -> None:
        self.config, self._shrinker = config, Shrinker()
        Image.MAX_IMAGE_PIXELS = None  # our own limits are checked before anything is decoded
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each holds frames of its own
        cv2.setNumThreads(1)  # a worker has one core

    def __call__(self, img_stream: IO[bytes], blurring_bbox_list: object = None) -> Resized:
        data = img_stream.read()
        try:
            return self._store(data)
        except _Refused as refused:
            return _failed(str(refused))
        except UnidentifiedImageError:
            if ends_early(data):
                return _failed("image_truncated: it ends before the length in its header")
            return _failed("image_undecodable: no image format that is known")
        except Exception as error:  # hostile files find every exception; each ends as this row's reason
            text = re.sub(r"<[^>]*>|0x[0-9a-f]+", "…", str(error)).strip() or type(error).__name__
            word = "truncated" if _TRUNCATED.search(text) or ends_early(data) else "undecodable"
            return _failed(f"image_{word}: {text}")

    def _store(self, data: bytes) -> Resized:
        config = self.config
        source = Image.open(io.BytesIO(data), formats=FORMATS)
        size = source.size
        wanted = resized(size, config.resize_mode, config.image_px, config.resize_only_if_bigger)
        self._check(source, data, wanted)
        pixels = self._shrinker.shrunk(data, size, wanted) if source.format in _JPEGS else None
        if pixels is not None and pixels.ndim == 3 and self._is_plain(source):
            return encoded(pixels, config.jpeg_quality), *wanted, *size, None
        image, turned = finished(source, pixels, wanted)
        if wanted != size or not config.resize_only_if_bigger:
            image = framed(image, config.resize_mode, config.image_px)
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=config.jpeg_quality)
        width, height = size[::-1] if turned in (5, 6, 7, 8) else size
        return stored.getvalue(), image.width, image.height, width, height, None

    def _is_plain(self, source: ImageFile.ImageFile) -> bool:
        """Whether an image of colours needs nothing but its size: it stands upright, is sRGB, and is not framed."""
        is_whole = self.config.resize_mode in ("keep_ratio", "keep_ratio_largest")
        return is_whole and "icc_profile" not in source.info and _orientation(source) == 1

    def _check(self, image: Image.Image, data: bytes, wanted: Size) -> None:
        """Raises _Refused where the header alone tells that the image is not wanted, or is dangerous."""
        config, (width, height) = self.config, image.size
        kept = reduction(image.size, wanted)
        if error := refusal(image, data, kept, config.max_image_pixels, config.max_decoding_bytes):
            raise _Refused(error)
        if min(width, height) < config.min_image_px:
            raise _Refused(f"image_too_small: {width}x{height}, the limit is {config.min_image_px} pixels a side")
        if config.max_aspect_ratio and max(width, height) > config.max_aspect_ratio * min(width, height):
            raise _Refused(f"image_aspect_ratio: {width}x{height}, the limit is {config.max_aspect_ratio:g} to 1")
        if max(wanted) > _JPEG_MAX_PX:
            raise _Refused(f"image_aspect_ratio: {width}x{height}, a JPEG has at most {_JPEG_MAX_PX} pixels a side")


def finished(source: ImageFile.ImageFile, pixels: np.ndarray | None, wanted: Size) -> tuple[Image.Image, int]:
    """The opened image's first frame, scaled to `wanted` (before it is turned upright), sRGB over white; and how it
    was turned, 1 to 8 as EXIF counts. `pixels` are what a Shrinker made of it."""
    image = carefully_scaled(source, wanted) if pixels is None else Image.fromarray(pixels)
    turned = _orientation(source)
    image = to_srgb(image, source.info.get("icc_profile"))
    return (image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image), turned


def carefully_scaled(source: ImageFile.ImageFile, wanted: Size) -> Image.Image:
    """The opened image of any format and colours, scaled to `wanted`, in a mode of `resizable`."""
    box, factor = None, reduction(source.size, wanted)
    if factor > 1 and source.format in _JPEGS:
        drafted = source.draft(None, (source.width // factor, source.height // factor))
        box = drafted[1] if drafted else None
    source.load()
    image = resizable(source)
    if wanted == image.size:
        return image
    return image.resize(wanted, Image.Resampling.BICUBIC, box=box, reducing_gap=None if box else 3.0)


def _orientation(image: Image.Image) -> int:
    """1 where nothing readable says it: a damaged note about a whole image."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, struct.error, ValueError, TypeError, ArithmeticError, LookupError, OSError):
        return 1


def _failed(error: str) -> Resized:
    return None, None, None, None, None, error
