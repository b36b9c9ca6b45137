"""Samples of a WebDataset tar, read in sequence by a small header parser (tarfile spends a tenth of a millisecond
on each member).

A damaged tar gives the samples before the damage, then one Unusable; it never raises for what is inside the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from train.memory import SIZES, MemberMemory

BLOCK = 512
END = bytes(BLOCK)
MAX_MEMBER_BYTES = 1 << 30
SEEK_BYTES = 64 << 10

Encoded = bytes | memoryview


@dataclass(frozen=True)
class TarSample:
    """Neighbouring members with the same key: their contents by extension, e.g. {"jpg": …, "txt": …, "json": …}. In an
    epoch that uses it more than once, `copy` counts the uses before."""

    key: str
    members: dict[str, Encoded]
    copy: int = 0

    @property
    def mark(self) -> str:
        """What tells apart the random draws for this use of it: the key, and behind it the copy, if there is one."""
        return f"{self.key}\0{self.copy}" if self.copy else self.key


@dataclass(frozen=True)
class Unusable:
    """Why a sample, or all that follows in a tar, is not used: `reason` in one word, to be counted."""

    key: str
    reason: str
    detail: str


class _Broken(Exception):
    """The tar cannot be read further."""


def read_samples(file: BinaryIO, start: int = 0, memory: MemberMemory | None = None) -> Iterator[TarSample | Unusable]:
    """The samples from the `start`-th on; larger members in lent memory, if there is one. Where the tar ends early or
    is no tar, the last item says so."""
    key, members, last = "", dict[str, Encoded](), -1
    try:
        for index, sample, extension, content in _members(file, start, memory):
            if index != last:
                if members:
                    yield TarSample(key, members)
                key, members, last = sample, {}, index
            if index >= start:
                members[extension.lower()] = content
    except (_Broken, OSError) as error:
        yield Unusable(key, "tar", f"{error}")
        return
    if members:
        yield TarSample(key, members)


def _members(file: BinaryIO, start: int, memory: MemberMemory | None) -> Iterator[tuple[int, str, str, Encoded]]:
    """Regular members in order: the number of their sample, its key, their extension, and content; the contents of the
    first `start` samples are passed over and given as empty."""
    place, fill, long_name, key, index = 0, 0, "", "", -1
    while True:
        block = _read(file, fill + BLOCK, place - fill)[fill:]
        header = _parse(block, place)
        if header is None:
            return
        name, size, kind = header
        place += BLOCK
        fill = -size % BLOCK
        if kind in b"0\0":
            sample, _, extension = (long_name or name).rpartition("/")[2].partition(".")
            long_name = ""
            if sample != key or index < 0:
                key, index = sample, index + 1
            if index >= start:
                yield index, key, extension, _read_member(file, size, place, memory)
            else:
                _skip(file, size, place)
                yield index, key, extension, b""
        elif kind == b"L":
            long_name = _read(file, size, place).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            long_name = _pax_path(_read(file, size, place)) or long_name
        else:
            _skip(file, size, place)
        place += size + fill


def _parse(block: bytes, place: int) -> tuple[str, int, bytes] | None:
    """The member's name, size and kind; None at the end of the archive."""
    if block == END:
        return None
    try:
        if not _is_sum(int(block[148:156].strip(b" \0"), 8), block):
            raise ValueError("checksum")
        size = _number(block[124:136])
    except ValueError:
        raise _Broken(f"no tar header at byte {place}") from None
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise _Broken(f"member of {size} bytes at byte {place}")
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:262] == b"ustar" and block[263:265] == b"00":
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "replace"), size, block[156:157]


def _is_sum(total: int, block: bytes) -> bool:
    """Whether `total` is the sum of a header's bytes, those of the sum itself taken as spaces. A quick one: the lower
    half of an Adler-32 is the sum of its bytes and 1, modulo 65521."""
    adler = zlib.adler32(block[156:], zlib.adler32(block[:148]))
    return (total - 8 * ord(" ") + 1) % 65521 == adler & 0xFFFF


def _number(field: bytes) -> int:
    """Octal digits; or, for what they cannot hold, bytes after a first one of 0x80."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _pax_path(content: bytes) -> str:
    for line in content.split(b"\n"):
        _, _, pair = line.partition(b" ")
        if pair.startswith(b"path="):
            return pair[5:].decode("utf-8", "replace")
    return ""


def _skip(file: BinaryIO, size: int, place: int) -> None:
    """Passes over a member's content."""
    if size >= SEEK_BYTES and file.seekable():
        file.seek(place + size)
    else:
        _read(file, size, place)


def _read_member(file: BinaryIO, size: int, place: int, memory: MemberMemory | None) -> Encoded:
    if memory is None or size not in SIZES:
        return _read(file, size, place)
    lent = memory.lend(size)
    num_read = file.readinto(lent)  # type: ignore[attr-defined]
    if num_read < size:
        raise _Broken(f"ends at byte {place + num_read}, inside the archive")
    return lent


def _read(file: BinaryIO, size: int, place: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _Broken(f"ends at byte {place + len(data)}, inside the archive")
    return data
