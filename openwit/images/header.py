"""What an image's first bytes say: its format, and what decoding it will take of memory.

Whether an answer is an image: by its Content-Type, and by the first bytes of its body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openwit.errors import ImageError

Size = tuple[int, int]  # width, height in pixels
U8 = npt.NDArray[np.uint8]

PLAIN_BYTES = 4  # a pixel of Pillow's images, grey ones and palettes counted as colours too
CONVERTED_BYTES = 4  # once more, where the image is converted before anything else is done with it


@dataclass(kw_only=True)
class Header:
    """An encoded image of which nothing is decoded yet."""

    format: str  # as Pillow names it
    size: Size  # as stored: before it is turned upright
    data: bytes  # what the decoder is given: the file without notes, and without all frames but the first
    num_bytes: int = 0  # of the whole file
    orientation: int = 1  # 1 to 8, as EXIF counts
    profile: bytes | None = None  # its ICC profile
    pixel_bytes: int = PLAIN_BYTES  # that decoding holds of each pixel at its most
    held_pixels: int = 0  # where the decoder holds more than the image has: a TIFF's tiles
    is_plain: bool = False  # three channels of 8 bits, nothing of them transparent
    ends_early: bool = False  # the file is shorter than it says

    @property
    def upright_size(self) -> Size:
        """Its size as it is shown."""
        return self.size[::-1] if self.orientation in (5, 6, 7, 8) else self.size

    def decoding_bytes(self, factor: int = 1) -> int:
        """An upper estimate of the memory that decoding takes, where it keeps one of `factor` pixels a side."""
        return self.pixel_bytes * max(self.size[0] * self.size[1], self.held_pixels)

    def reduction(self, at_least: Size) -> int:
        """1, 2, 4 or 8: decoding may keep one of so many pixels a side, and keep `at_least` of the stored size."""
        return 1


@dataclass(frozen=True)
class DecodingLimits:
    """What decoding may take of a machine. The first is where Pillow's own limit lies."""

    max_pixels: int = 178_956_970
    max_bytes: int = 1_500_000_000  # of memory, at its most

    def check_size(self, header: Header) -> None:
        """Raises ImageError where the image has no pixels, or too many."""
        width, height = header.size
        if width < 1 or height < 1:
            raise ImageError("image_undecodable", f"{width}x{height}: no pixels")
        if width * height > self.max_pixels:
            raise ImageError("image_too_large", f"{width}x{height}, the limit is {self.max_pixels} pixels")

    def check(self, header: Header, factor: int = 1) -> None:
        """Raises ImageError where the image must not be decoded at 1/`factor` of its size."""
        self.check_size(header)
        needed = header.decoding_bytes(factor)
        if needed > self.max_bytes:
            raise ImageError(
                "image_too_large",
                f"{header.size[0]}x{header.size[1]} {header.format} takes {needed // 10**6} MB to decode, "
                f"the limit is {self.max_bytes // 10**6} MB",
            )


def reduction(size: Size, at_least: Size) -> int:
    """1, 2, 4 or 8, the scales at which a JPEG can be decoded: the most of which `size` holds so many `at_least`."""
    gap = min(size[0] / at_least[0], size[1] / at_least[1])
    return 8 if gap >= 8 else 4 if gap >= 4 else 2 if gap >= 2 else 1


_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    (b"P4", "PPM"), (b"P5", "PPM"), (b"P6", "PPM"),
)  # fmt: skip
_BRANDS = {b"avif", b"avis", b"mif1", b"msf1", b"miaf"}  # of AVIF's container
_NEUTRAL = {"", "application/octet-stream", "binary/octet-stream", "application/binary", "text/plain", "unknown"}


def format_of(data: bytes) -> str | None:
    """JPEG, PNG, WEBP, GIF, AVIF, BMP, TIFF or PPM, by the first bytes; None for all else, which is never opened."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if data[4:8] == b"ftyp" and data[8:12] in _BRANDS else None


def may_be_image(content_type: str) -> bool:
    """Whether the header leaves it open that the body is an image: image/* but SVG, or a type that says nothing."""
    kind = content_type.partition(";")[0].strip().lower()
    return (kind.startswith("image/") and kind != "image/svg+xml") or kind in _NEUTRAL


def has_image_signature(body: bytes) -> bool:
    """Whether the body starts as JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF does."""
    return format_of(body) not in (None, "PPM")
