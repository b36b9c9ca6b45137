"""GIF: its first frame, without the comments before it."""

from __future__ import annotations

from dataclasses import dataclass

from openwit.errors import ImageError
from openwit.images.header import CONVERTED_BYTES, PLAIN_BYTES, Header, Size

_EXTENSION, _IMAGE = 0x21, 0x2C
_GRAPHIC_CONTROL = 0xF9
_MAX_BLOCKS = 100_000  # before the first frame; a note of 1 MB has some 10,000


@dataclass(kw_only=True)
class GifHeader(Header):
    """`data` is a GIF of the first frame alone, which lies at `place` (left, top) of the whole, `frame` in size."""

    place: tuple[int, int]
    frame: Size


def read_header(data: bytes) -> GifHeader:
    """The GIF's header. Raises ImageError where it has no frame."""
    screen = _table_end(data, 10, 13)
    place, control = screen, b""
    for _ in range(_MAX_BLOCKS):
        kind = data[place : place + 1]
        if kind == bytes([_IMAGE]) and len(data) >= place + 10:
            break
        if kind == b"\0":  # between blocks, in files that are otherwise whole
            place += 1
        elif kind == bytes([_EXTENSION]):
            start, place = place, place + 2
            for _ in range(_MAX_BLOCKS):
                length = data[place] if place < len(data) else 0
                place += 1 + length
                if not length:
                    break
            else:
                raise ImageError("image_undecodable", f"a GIF's note of more than {_MAX_BLOCKS} blocks")
            if data[start + 1 : start + 2] == bytes([_GRAPHIC_CONTROL]):
                control = data[start:place]
        else:
            word = "undecodable" if kind and len(data) > place + 10 else "truncated"
            raise ImageError(f"image_{word}", "a GIF without a frame")
    else:
        raise ImageError("image_undecodable", f"a GIF of more than {_MAX_BLOCKS} blocks before its first frame")
    left, top, width, height = (int.from_bytes(data[k : k + 2], "little") for k in range(place + 1, place + 9, 2))
    across, down = (int.from_bytes(data[k : k + 2], "little") for k in (6, 8))
    frame = bytes([_IMAGE, 0, 0, 0, 0]) + data[place + 5 :]
    return GifHeader(
        format="GIF",
        num_bytes=len(data),
        size=(max(across, left + width), max(down, top + height)),
        data=data[:6] + data[place + 5 : place + 9] + data[10:screen] + control + frame,
        pixel_bytes=PLAIN_BYTES + 2 * CONVERTED_BYTES,
        place=(left, top),
        frame=(width, height),
    )


def _table_end(data: bytes, flags: int, start: int) -> int:
    """Where the table of colours that the flags announce ends."""
    packed = data[flags] if flags < len(data) else 0
    return start + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
