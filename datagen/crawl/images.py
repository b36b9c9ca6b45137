"""What is stored of a fetched picture: its first frame, upright, sRGB over white, resized, as JPEG.

The callable takes the place of img2dataset's `Resizer` and answers as it does. img2dataset calls it in one thread of a
worker, one picture after another, so the memory of one decoding, which the header bounds, bounds the worker's.
"""

from __future__ import annotations

import io
import re
from typing import IO

from PIL import AvifImagePlugin, Image, ImageFile, UnidentifiedImageError

from datagen.config import CrawlConfig
from datagen.crawl.image_colors import resizable, to_srgb
from datagen.crawl.image_header import FORMATS, ends_early, refusal
from datagen.crawl.image_sizes import Size, framed, resized

Resized = tuple[bytes | None, int | None, int | None, int | None, int | None, str | None]

# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves twice the size that is wanted. The stored pixels then differ
# from those of the full decode by less than 0.5 levels of 255 on average for photographs, 3.5 for stripes and noise.
REDUCING_GAP = 2
_JPEG_MOST_PX = 65_500
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_TRUNCATED = re.compile(r"truncat|unexpected end|premature|not enough|too short|failed to read next frame", re.I)


class _Refused(Exception):
    """The picture is not stored; the text begins with the reason's word."""


class ImageResizer:
    """img2dataset's `resizer` seam: (stream, boxes) → (JPEG, width, height, original width, original height, error).

    Sizes in pixels. An error starts with image_truncated, image_undecodable, image_too_large, image_too_small or
    image_aspect_ratio.
    """

    def __init__(self, config: CrawlConfig) -> None:
        self.config = config
        Image.MAX_IMAGE_PIXELS = None  # our own limits are checked before anything is decoded
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each holds frames of its own

    def __call__(self, img_stream: IO[bytes], blurring_bbox_list: object = None) -> Resized:
        data = img_stream.read()
        try:
            return self._store(data)
        except _Refused as refused:
            return _failed(str(refused))
        except UnidentifiedImageError:
            if ends_early(data):
                return _failed("image_truncated: it ends before the length in its header")
            return _failed("image_undecodable: no picture format that is known")
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
        image, turned = decoded(source, wanted)
        if wanted != size or not config.resize_only_if_bigger:
            image = framed(image, config.resize_mode, config.image_px)
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=config.jpeg_quality)
        width, height = size[::-1] if turned in (5, 6, 7, 8) else size
        return stored.getvalue(), image.width, image.height, width, height, None

    def _check(self, image: Image.Image, data: bytes, wanted: Size) -> None:
        """Raises _Refused where the header alone tells that the picture is not wanted, or is dangerous."""
        config, (width, height) = self.config, image.size
        scale = min(width // (wanted[0] * REDUCING_GAP), height // (wanted[1] * REDUCING_GAP))
        kept = next(factor for factor in (8, 4, 2, 1) if scale >= factor or factor == 1)
        if error := refusal(image, data, kept, config.max_image_pixels, config.max_decoding_bytes):
            raise _Refused(error)
        if min(width, height) < config.min_image_px:
            raise _Refused(f"image_too_small: {width}x{height}, the limit is {config.min_image_px} pixels a side")
        if config.max_aspect_ratio and max(width, height) > config.max_aspect_ratio * min(width, height):
            raise _Refused(f"image_aspect_ratio: {width}x{height}, the limit is {config.max_aspect_ratio:g} to 1")
        if max(wanted) > _JPEG_MOST_PX:
            raise _Refused(f"image_aspect_ratio: {width}x{height}, a JPEG has at most {_JPEG_MOST_PX} pixels a side")


def decoded(source: ImageFile.ImageFile, wanted: Size) -> tuple[Image.Image, int]:
    """The opened picture's first frame, scaled to `wanted` (before it is turned upright), sRGB over white; and how it
    was turned, 1 to 8 as EXIF counts."""
    box = None
    if wanted != source.size and source.format in ("JPEG", "MPO"):
        drafted = source.draft(None, (wanted[0] * REDUCING_GAP, wanted[1] * REDUCING_GAP))
        box = drafted[1] if drafted else None
    source.load()
    turned, profile = _orientation(source), source.info.get("icc_profile")
    image = resizable(source)
    if wanted != image.size:
        image = image.resize(wanted, Image.Resampling.BICUBIC, box=box, reducing_gap=None if box else 3.0)
    image = to_srgb(image, profile)
    return (image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image), turned


def _orientation(image: Image.Image) -> int:
    """1 where nothing readable says it."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged note about a whole picture
        return 1


def _failed(error: str) -> Resized:
    return None, None, None, None, None, error
