"""Headers of every format that is read: before any of it is decoded, and before a decoder sees it."""

from __future__ import annotations

import re
from collections.abc import Callable

from PIL import Image

from openwit.errors import ImageError
from openwit.images import bitmaps, boxes, gif, jpeg, png, tiff
from openwit.images.header import DecodingLimits, Header, format_of

_HEADERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": jpeg.read_header, "PNG": png.read_header, "WEBP": boxes.read_webp, "GIF": gif.read_header,
    "AVIF": boxes.read_avif, "BMP": bitmaps.read_bmp, "TIFF": tiff.read_header, "PPM": bitmaps.read_ppm,
}  # fmt: skip
LIMITS = DecodingLimits()
_TRUNCATED = re.compile(r"truncat|unexpected end|premature|not enough|too short|failed to read next frame", re.I)

Image.MAX_IMAGE_PIXELS = None  # nothing is opened before it has passed our own limits


def read_header(data: bytes | memoryview, limits: DecodingLimits = LIMITS) -> Header:
    """What the file says of itself; nothing is decoded. Raises ImageError where it is no image, or has more pixels than
    allowed."""
    data = bytes(data)  # no copy where they are
    name = format_of(data)
    with DecoderErrors(len(data)):
        if name is None:
            raise ImageError("image_undecodable", "no image format that is known")
        header = _HEADERS[name](data)
        limits.check_size(header)
        return boxes.open_avif(header) if name == "AVIF" else header


class DecoderErrors:
    """Whatever a decoder raises becomes an ImageError: hostile files find every exception."""

    def __init__(self, num_bytes: int, ends_early: bool = False) -> None:
        self.num_bytes, self.ends_early = num_bytes, ends_early

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImageError):
            raise ImageError(error.reason, error.detail, self.num_bytes) from None
        if isinstance(error, Exception):
            text = re.sub(r"<[^>]*>|0x[0-9a-f]+", "…", str(error)).strip() or type(error).__name__
            word = "truncated" if self.ends_early or _TRUNCATED.search(text) else "undecodable"
            raise ImageError(f"image_{word}", text, self.num_bytes) from None
