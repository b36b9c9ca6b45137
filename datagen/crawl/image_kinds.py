"""Whether an answer is a picture: by its Content-Type, and by the first bytes of its body."""

from __future__ import annotations

_NEUTRAL = {"", "application/octet-stream", "binary/octet-stream", "application/binary", "text/plain", "unknown"}
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_BRANDS = {b"avif", b"avis", b"mif1", b"msf1", b"miaf"}  # of AVIF's container


def may_be_image(content_type: str) -> bool:
    """Whether the header leaves it open that the body is a picture: image/* but SVG, or a type that says nothing."""
    kind = content_type.partition(";")[0].strip().lower()
    return (kind.startswith("image/") and kind != "image/svg+xml") or kind in _NEUTRAL


def has_image_signature(body: bytes) -> bool:
    """Whether the body starts as JPEG, PNG, WebP, GIF, AVIF, BMP or TIFF does."""
    if body.startswith(_SIGNATURES):
        return True
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return True
    return body[4:8] == b"ftyp" and body[8:12] in _BRANDS
