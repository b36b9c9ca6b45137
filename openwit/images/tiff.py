"""TIFF: the first directory, with nothing in it but what the pixels need, and bounded before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from openwit.errors import ImageError
from openwit.images.header import CONVERTED_BYTES, Header

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _ROWS = 256, 257, 258, 262, 274, 277, 278
_TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _PROFILE = 322, 323, 338, 34675
_PLACES = (273, 279, 324, 325)  # where strips and tiles lie, and how long they are
_KEPT = {
    254, _WIDTH, _HEIGHT, _BITS, 259, _PHOTOMETRIC, 266, _SAMPLES, _ROWS, 284, 292, 293, 317, 320, _TILE_WIDTH,
    _TILE_HEIGHT, 332, _EXTRA, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, *_PLACES,
}  # fmt: skip
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MAX_ENTRIES = 500
_MAX_STRIPS = 65_536
_MAX_VALUES = 3 * 65_536  # of another entry: a palette of 16 bits
_MAX_PROFILE_BYTES = 3_000_000
_DECODED_BYTES = 12  # a pixel: the decoder's strips, and Pillow's image


@dataclass(kw_only=True)
class TiffHeader(Header):
    """A TIFF; `data` has a directory of what the pixels need."""

    is_deep_negative: bool = False  # 16 bits of grey, of which 0 is white


@dataclass(frozen=True)
class _TiffEntry:
    tag: int
    kind: int
    count: int
    raw: bytes  # as it stands in the directory
    value: bytes  # its first bytes, where they lie

    def number(self, order: Literal["little", "big"]) -> int:
        """The first of its numbers."""
        return int.from_bytes(self.value[: _TYPE_BYTES[self.kind]], order) if self.count else 0


def read_header(data: bytes) -> TiffHeader:
    """The TIFF's header. Raises ImageError where its directory is damaged, or longer than an image can need."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    is_big = data[2:4] in (b"+\0", b"\0+")
    entries = {entry.tag: entry for entry in _entries(data, order, is_big)}

    def number(tag: int, default: int) -> int:
        return entries[tag].number(order) if tag in entries else default

    for tag in _KEPT & set(entries):
        most = _MAX_STRIPS if tag in _PLACES else _MAX_VALUES
        if entries[tag].count > most:
            raise ImageError("image_too_large", f"a TIFF with {entries[tag].count} values of tag {tag}")
    if number(_SAMPLES, 1) > 16:
        raise ImageError("image_undecodable", f"a TIFF of {number(_SAMPLES, 1)} samples a pixel")
    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    profile = entries.get(_PROFILE)
    turned = number(_ORIENTATION, 1)
    return TiffHeader(
        format="TIFF",
        num_bytes=len(data),
        size=(width, height),
        data=_rewritten(data, [entries[tag].raw for tag in sorted(_KEPT & set(entries))], order, is_big),
        orientation=turned if 1 <= turned <= 8 else 1,
        profile=profile.value if profile and profile.count <= _MAX_PROFILE_BYTES and profile.kind in (1, 7) else None,
        pixel_bytes=_DECODED_BYTES + 2 * CONVERTED_BYTES * (number(_SAMPLES, 1) in (2, 4)) + CONVERTED_BYTES,
        held_pixels=math.prod(number(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT)),
        is_deep_negative=number(_PHOTOMETRIC, 1) == 0 and number(_BITS, 1) == 16,
    )


def _entries(data: bytes, order: Literal["little", "big"], is_big: bool) -> Iterator[_TiffEntry]:
    """The directory's entries of types that are known."""
    wide = 8 if is_big else 4
    head, length = (8, 20) if is_big else (2, 12)
    start = int.from_bytes(data[8:16] if is_big else data[4:8], order)
    num_entries = int.from_bytes(data[start : start + head], order)
    if num_entries > _MAX_ENTRIES:
        raise ImageError("image_undecodable", f"a TIFF with {num_entries} entries in its directory")
    if start + head + length * num_entries > len(data):
        raise ImageError("image_truncated", "a TIFF that ends before its directory")
    for place in range(start + head, start + head + length * num_entries, length):
        raw = data[place : place + length]
        kind, count = int.from_bytes(raw[2:4], order), int.from_bytes(raw[4 : 4 + wide], order)
        if kind not in _TYPE_BYTES:
            continue
        num_bytes = count * _TYPE_BYTES[kind]
        at = place + 4 + wide if num_bytes <= wide else int.from_bytes(raw[4 + wide :], order)
        yield _TiffEntry(
            int.from_bytes(raw[:2], order), kind, count, raw, data[at : at + min(num_bytes, _MAX_PROFILE_BYTES)]
        )


def _rewritten(data: bytes, entries: list[bytes], order: Literal["little", "big"], is_big: bool) -> bytes:
    """The file with a directory of these entries alone."""
    data += bytes(len(data) % 2)
    head, wide = (8, 8) if is_big else (2, 4)
    start = len(data).to_bytes(wide, order)
    directory = len(entries).to_bytes(head, order) + b"".join(entries) + bytes(wide)
    return b"".join([data[: 8 if is_big else 4], start, data[16 if is_big else 8 :], directory])
