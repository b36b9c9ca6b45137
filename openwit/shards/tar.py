"""Samples of a WebDataset tar, read in sequence by a small header parser (tarfile spends a tenth of a millisecond
on each member).

A damaged tar gives the samples before the damage, then one Unusable; it never raises for what is inside the file.

Tar files of plain members (a short name, bytes, neither time nor owner), in twenty lines where tarfile takes as long
for a member as a resizer for an image.

Memory for encoded images that wait in a window, used again and again. The holes that they would leave in the
system's, each of another size, are searched by every decoding, which asks for large pieces too.
"""

from __future__ import annotations

import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO

STEP_BYTES = 4 << 10
SIZES = range(STEP_BYTES, 1 << 20)  # what is smaller goes quickly anyway, what is larger is rare


class BufferPool:
    """Buffers that are used again once they are released; any thread may ask."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)

    def acquire(self, num_bytes: int) -> memoryview:
        """So many bytes, not set."""
        whole = -(-num_bytes // STEP_BYTES) * STEP_BYTES
        free = self._free[whole]
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(whole)
        return memoryview(memory)[:num_bytes]

    def release(self, buffer: memoryview) -> None:
        """From now on whoever reads it gets ValueError."""
        memory = buffer.obj
        buffer.release()
        assert isinstance(memory, bytearray)
        self._free[len(memory)].append(memory)


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


def read_samples(file: BinaryIO, start: int = 0, pool: BufferPool | None = None) -> Iterator[TarSample | Unusable]:
    """The samples from the `start`-th on; larger members in buffers of the pool, if there is one. Where the tar ends
    early or is no tar, the last item says so."""
    key, members, last = "", dict[str, Encoded](), -1
    try:
        for index, sample, extension, content in _members(file, start, pool):
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


def _members(file: BinaryIO, start: int, pool: BufferPool | None) -> Iterator[tuple[int, str, str, Encoded]]:
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
                yield index, key, extension, _read_member(file, size, place, pool)
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


def _read_member(file: BinaryIO, size: int, place: int, pool: BufferPool | None) -> Encoded:
    if pool is None or size not in SIZES:
        return _read(file, size, place)
    buffer = pool.acquire(size)
    num_read = file.readinto(buffer)  # type: ignore[attr-defined]
    if num_read < size:
        raise _Broken(f"ends at byte {place + num_read}, inside the archive")
    return buffer


def _read(file: BinaryIO, size: int, place: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _Broken(f"ends at byte {place + len(data)}, inside the archive")
    return data


_BLOCK_BYTES, _RECORD_BYTES = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_LONGEST_NAME = 100
_AFTER_NAME = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
_AFTER_SIZE = b"00000000000\0"  # time
_BLANK_SUM = b" " * 8
_AFTER_SUM = b"0" + b"\0" * 100 + b"ustar\0" + b"00" + b"\0" * 247  # a file; no link; and nothing more to say
_FIXED_SUM = sum(_AFTER_NAME + _AFTER_SIZE + _BLANK_SUM + _AFTER_SUM)


class PlainTar:
    """Writes what webdataset's TarWriter writes, members named KEY.EXTENSION, without their times."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0

    def write(self, sample: Mapping[str, str | bytes]) -> None:
        """A sample: its `__key__`, and its members by extension."""
        key = sample["__key__"]
        assert isinstance(key, str)
        for extension, content in sorted(sample.items()):
            if extension != "__key__":
                self.add(f"{key}.{extension}", content.encode() if isinstance(content, str) else content)

    def add(self, name: str, content: bytes) -> None:
        """One member."""
        padding = bytes(-len(content) % _BLOCK_BYTES)
        self._file.write(header(name, len(content)) + content + padding)
        self._written += _BLOCK_BYTES + len(content) + len(padding)

    def close(self) -> None:
        """Writes the end; the file stays open."""
        self._file.write(bytes(2 * _BLOCK_BYTES + -(self._written + 2 * _BLOCK_BYTES) % _RECORD_BYTES))


def header(name: str, num_bytes: int) -> bytes:
    """The 512 bytes before a member's content, as tarfile writes them. Raises ValueError where it would need more."""
    named, size = name.encode("ascii"), b"%011o\0" % num_bytes
    if len(named) > _LONGEST_NAME or len(size) > 12:
        raise ValueError(f"{name}, {num_bytes} bytes: not a plain member of a tar file")
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(named) + sum(size))
    return b"".join((named.ljust(_LONGEST_NAME, b"\0"), _AFTER_NAME, size, _AFTER_SIZE, checksum, _AFTER_SUM))


def members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """(name, where its content starts, its bytes) of each member. Raises ValueError where one is not plain."""
    place = 0
    while (block := file.read(_BLOCK_BYTES)).strip(b"\0"):
        if len(block) < _BLOCK_BYTES or block[156:157] != b"0":
            raise ValueError(f"at byte {place} stands no plain member of a tar file")
        num_bytes = int(block[124:136].rstrip(b" \0"), 8)
        yield block[:_LONGEST_NAME].rstrip(b"\0").decode("ascii"), place + _BLOCK_BYTES, num_bytes
        place += _BLOCK_BYTES + num_bytes + -num_bytes % _BLOCK_BYTES
        file.seek(place)
