"""Samples of a WebDataset tar, read in sequence by a small header parser (tarfile spends a tenth of a millisecond
on each member).

A damaged tar gives the samples before the damage, then one Unusable; it never raises for what is inside the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

BLOCK = 512
MAX_MEMBER_BYTES = 1 << 30
SEEK_BYTES = 64 << 10


@dataclass(frozen=True)
class TarSample:
    """Neighbouring members with the same key: their contents by extension, e.g. {"jpg": …, "txt": …, "json": …}. In an
    epoch that uses it more than once, `copy` counts the uses before."""

    key: str
    members: dict[str, bytes]
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


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes


class _Broken(Exception):
    """The tar cannot be read further."""


def read_samples(file: BinaryIO, start: int = 0) -> Iterator[TarSample | Unusable]:
    """The samples from the `start`-th on. Where the tar ends early or is no tar, the last item says so."""
    key, members, last = "", dict[str, bytes](), -1
    try:
        for index, name, content in _members(file, start):
            if index != last:
                if members:
                    yield TarSample(key, members)
                key, members, last = name.partition(".")[0], {}, index
            if index >= start:
                members[name.partition(".")[2].lower()] = content
    except (_Broken, OSError) as error:
        yield Unusable(key, "tar", f"{error}")
        return
    if members:
        yield TarSample(key, members)


def _members(file: BinaryIO, start: int) -> Iterator[tuple[int, str, bytes]]:
    """Regular members in order: the number of their sample, name without folders, and content; the contents of the
    first `start` samples are passed over and given as empty."""
    place, long_name, key, index = 0, "", "", -1
    while True:
        header = _parse(_read(file, BLOCK, place), place)
        if header is None:
            return
        place += BLOCK
        if header.kind in b"0\0":
            name = (long_name or header.name).rpartition("/")[2]
            long_name = ""
            if name.partition(".")[0] != key or index < 0:
                key, index = name.partition(".")[0], index + 1
            yield index, name, _content(file, header, place) if index >= start else _skip(file, header, place)
        elif header.kind == b"L":
            long_name = _content(file, header, place).rstrip(b"\0").decode("utf-8", "replace")
        elif header.kind == b"x":
            long_name = _pax_path(_content(file, header, place)) or long_name
        else:
            _skip(file, header, place)
        place += _padded(header.size)


def _parse(block: bytes, place: int) -> _Header | None:
    """The member's header; None at the end of the archive."""
    signs = block.translate(None, b"\0")  # most of a header is zeros, and a sum over few bytes is quick
    if not signs:
        return None
    stored = block[148:156].strip(b" \0")
    total = sum(signs) - sum(block[148:156]) + 8 * ord(" ")
    try:
        if int(stored, 8) != total:
            raise ValueError("checksum")
        size = _number(block[124:136])
    except ValueError:
        raise _Broken(f"no tar header at byte {place}") from None
    if size > MAX_MEMBER_BYTES:
        raise _Broken(f"member of {size} bytes at byte {place}")
    name = block[:100].rstrip(b"\0")
    if block[257:262] == b"ustar" and (prefix := block[345:500].split(b"\0", 1)[0]) and block[263:265] == b"00":
        name = prefix + b"/" + name
    return _Header(name.decode("utf-8", "replace"), size, block[156:157])


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


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _content(file: BinaryIO, header: _Header, place: int) -> bytes:
    return _read(file, _padded(header.size), place, needed=header.size)[: header.size]


def _skip(file: BinaryIO, header: _Header, place: int) -> bytes:
    padded = _padded(header.size)
    if padded >= SEEK_BYTES and file.seekable():
        file.seek(place + padded)
    else:
        _read(file, padded, place, needed=header.size)
    return b""


def _read(file: BinaryIO, size: int, place: int, needed: int | None = None) -> bytes:
    data = file.read(size)
    if len(data) < (size if needed is None else needed):
        raise _Broken(f"ends at byte {place + len(data)}, inside the archive")
    return data
