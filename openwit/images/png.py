"""PNG: what its chunks say, and the file without those that hold no pixels, however large or damaged they are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from openwit.errors import ImageError
from openwit.images.color import eight_bits
from openwit.images.exif import orientation
from openwit.images.header import CONVERTED_BYTES, PLAIN_BYTES, U8, Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOURS, _PALETTE = 0, 2, 3
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_END = b"\0\0\0\0IEND\xaeB`\x82"
_MAX_CHUNKS = 50_000
_MAX_PROFILE_BYTES = 3_000_000
_DEEP_BYTES = 20  # a pixel of 16 bits: twice in four channels, then in 8 bits, and laid over white

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)  # what it says of a damaged file is no line of ours


@dataclass(kw_only=True)
class PngHeader(Header):
    """A PNG's chunks; `data` holds those of the pixels, the palette and what is transparent."""

    is_deep: bool = False  # 16 bits a channel
    is_grey: bool = False
    is_cut: bool = False  # within a chunk
    transparent: tuple[int, ...] = ()  # the one colour of 16 bits that is


def read_header(data: bytes) -> PngHeader:
    """The PNG's header. Raises ImageError where it has none, or no pixels."""
    kept: list[bytes] = [SIGNATURE]
    notes: dict[bytes, bytes] = {}
    place, has_pixels, whole = len(SIGNATURE), False, False
    for _ in range(_MAX_CHUNKS):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if len(name) < 4:
            break
        if name == b"IEND":
            whole = True
            break
        if name in _CRITICAL:
            kept.append(data[place:end])
            has_pixels = has_pixels or name == b"IDAT"
        elif name not in notes and (name in (b"eXIf", b"iCCP") or (name == b"tRNS" and not has_pixels)):
            content = data[place + 8 : end - 4]
            if zlib.crc32(name + content) == int.from_bytes(data[end - 4 : end], "big"):
                notes[name] = content
                if name == b"tRNS":
                    kept.append(b"")  # its place, before the pixels
        place = end
        if place > len(data):
            break
    else:
        raise ImageError("image_undecodable", f"a PNG of more than {_MAX_CHUNKS} chunks")
    header = kept[1] if len(kept) > 1 else b""
    if header[4:8] != b"IHDR" or len(header) < 25:
        raise ImageError("image_undecodable" if len(data) > 33 else "image_truncated", "a PNG without a header")
    width, height = (int.from_bytes(header[k : k + 4], "big") for k in (8, 12))
    bits, kind = header[16:18]
    transparent = _transparent(notes.get(b"tRNS", b""), bits, kind)
    if isinstance(transparent, bytes) and b"" in kept:
        kept[kept.index(b"")] = _chunk(b"tRNS", transparent)
    pixel_bytes = PLAIN_BYTES
    if kind not in (_GREY, _COLOURS) or bits < 8 or transparent:
        pixel_bytes += CONVERTED_BYTES
    if kind > _PALETTE or transparent:
        pixel_bytes += CONVERTED_BYTES  # laid over white
    return PngHeader(
        format="PNG",
        num_bytes=len(data),
        size=(width, height),
        data=b"".join([*kept, _END]),
        orientation=orientation(notes.get(b"eXIf", b"")),
        profile=_profile(notes.get(b"iCCP", b"")),
        pixel_bytes=_DEEP_BYTES if bits == 16 else pixel_bytes,
        is_plain=kind == _COLOURS and bits == 8 and not transparent and whole,
        ends_early=not whole,
        is_deep=bits == 16,
        is_cut=place > len(data),
        is_grey=kind in (_GREY, 4),
        transparent=transparent if isinstance(transparent, tuple) else (),
    )


def _transparent(content: bytes, bits: int, kind: int) -> bytes | tuple[int, ...]:
    """What is transparent: a chunk's content for the decoder, in the 8 bits to which it widens grey ones, or a colour
    of 16 bits."""
    if kind == _PALETTE or not content or kind > _PALETTE:
        return content if kind == _PALETTE else b""
    channels = 1 if kind == _GREY else 3
    values = tuple(int.from_bytes(content[2 * k : 2 * k + 2], "big") for k in range(channels))
    if len(content) < 2 * channels:
        return b""
    if bits == 16:
        return values
    top = (1 << bits) - 1
    widened = [255 * (value & top) // top if bits > 1 else value & top for value in values]
    return b"".join(value.to_bytes(2, "big") for value in widened)


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def _profile(content: bytes) -> bytes | None:
    """The profile that iCCP holds compressed; None where it is damaged, or larger than any that is meant."""
    name, _, packed = content.partition(b"\0")
    if len(packed) < 2 or len(name) > 79:
        return None
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def decode_deep(header: PngHeader) -> U8:
    """The pixels of 16 bits, scaled to 8: uint8 [H, W] of grey, [H, W, 3] of RGB, [H, W, 4] with alpha. Raises
    ImageError."""
    if header.is_cut:
        raise ImageError("image_truncated", "a PNG that ends within its pixels")
    found = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape[1::-1] != header.size:
        raise ImageError("image_truncated" if header.ends_early else "image_undecodable", "a PNG of damaged pixels")
    clear = None
    if header.transparent:
        clear = (found.reshape(*found.shape[:2], -1) == header.transparent[::-1]).all(-1)  # blue, green, red
    pixels = eight_bits(found.astype(np.uint16, copy=False))
    if pixels.ndim == 2 and clear is None:
        return pixels
    code = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    colours: U8 = cv2.cvtColor(pixels, code[4 if pixels.shape[2:] == (4,) else pixels.ndim]).astype(
        np.uint8, copy=False
    )
    return colours if clear is None else np.dstack([colours, np.where(clear, 0, 255).astype(np.uint8)])
