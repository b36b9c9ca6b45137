"""What an image's header says before anything of it is decoded: its size, and what decoding will take of memory.

Whether an answer is an image: by its Content-Type, and by the first bytes of its body.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")

# Bytes a pixel that a format's decoder and Pillow hold together: Pillow's image has 4 (1 for grey and palettes,
# counted as 4 too), and WebP and AVIF decode into buffers of their own, which are copied twice.
_DECODED: Mapping[str, int] = MappingProxyType({"WEBP": 18, "AVIF": 14, "TIFF": 12})
_PLAIN = 4
_BLURRED = 6  # a JPEG's pixels, and once more the blurred ones that are made smaller (image_jpeg)
_CONVERTED = 4  # once more for an image that is converted before it is resized
_COEFFICIENT = 2  # bytes; a JPEG of several scans is decoded from all coefficients of all components
_MAX_SCANS = 100  # of a JPEG; usual are 1 to 12, and each passes over the whole image


def refusal(image: Image.Image, data: bytes, kept: int, max_pixels: int, max_bytes: int) -> str | None:
    """Why an opened image must not be decoded: "image_too_large: …" or "image_undecodable: …"; None where it may.

    Decoding keeps one of `kept` pixels a side (JPEG at reduced scale), and is to hold at most `max_bytes`.
    """
    width, height = image.size
    if width * height > max_pixels:
        return f"image_too_large: {width}x{height}, the limit is {max_pixels} pixels"
    scans = _scans(image, data)
    if scans > _MAX_SCANS:
        return f"image_undecodable: a JPEG of {scans} scans, the limit is {_MAX_SCANS}"
    needed = decoding_bytes(image, scans, kept)
    if needed > max_bytes:
        return (
            f"image_too_large: {width}x{height} {image.format} takes {needed // 10**6} MB to decode, "
            f"the limit is {max_bytes // 10**6} MB"
        )
    return None


def decoding_bytes(image: Image.Image, scans: int, kept: int) -> int:
    """An upper estimate of the memory that decoding takes at its most, in bytes."""
    pixels = max(image.size[0] * image.size[1], _tile_pixels(image))
    if image.format in ("JPEG", "MPO"):
        return _BLURRED * pixels // kept**2 + (_coefficients(image) if scans > 1 else 0)
    per_pixel = _DECODED.get(image.format or "", _PLAIN)
    if image.mode not in ("L", "RGB", "CMYK") or image.has_transparency_data:
        per_pixel += _CONVERTED
    if image.has_transparency_data:
        per_pixel += _CONVERTED  # multiplied by its alpha while it is resized
    return int(per_pixel * pixels)


def _scans(image: Image.Image, data: bytes) -> int:
    return data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1


def _coefficients(image: Image.Image) -> int:
    layers = [(h, v) for _, h, v, _ in getattr(image, "layer", ())]
    most = max((h for h, _ in layers), default=1) * max((v for _, v in layers), default=1)
    samples: float = sum(h * v for h, v in layers) / most
    return round(_COEFFICIENT * image.size[0] * image.size[1] * samples)


def _tile_pixels(image: Image.Image) -> int:
    """Of a TIFF, whose tiles may be larger than itself."""
    tags: Mapping[int, object] = getattr(image, "tag_v2", {})
    sides = [tags.get(number, 0) for number in (322, 323)]
    return math.prod(side if isinstance(side, int) else 0 for side in sides)


def ends_early(data: bytes) -> bool:
    """Whether a WebP or AVIF is shorter than its header says."""
    if data[:4] == b"RIFF":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    place = 0
    while data[4:8] == b"ftyp" and 0 <= place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:  # up to the end of the file, or a longer number: rare, and no sign of anything
            return False
        place += size
    return place > len(data)


_NEUTRAL = {"", "application/octet-stream", "binary/octet-stream", "application/binary", "text/plain", "unknown"}
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_BRANDS = {b"avif", b"avis", b"mif1", b"msf1", b"miaf"}  # of AVIF's container


def may_be_image(content_type: str) -> bool:
    """Whether the header leaves it open that the body is an image: image/* but SVG, or a type that says nothing."""
    kind = content_type.partition(";")[0].strip().lower()
    return (kind.startswith("image/") and kind != "image/svg+xml") or kind in _NEUTRAL


def has_image_signature(body: bytes) -> bool:
    """Whether the body starts as JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF does."""
    if body.startswith(_SIGNATURES):
        return True
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return True
    return body[4:8] == b"ftyp" and body[8:12] in _BRANDS
