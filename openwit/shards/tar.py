"""Tar files: the one reader and the one writer.

The reader is a small parser of headers (tarfile spends a tenth of a millisecond on each member). It works on pipes, on
object stores and on files that others made: what a header asks for is bounded, and what is no plain file is told apart
by its kind and never followed. The writer writes plain members only (a short name, bytes, neither time nor owner), in
twenty lines where tarfile takes as long for a member as a resizer for an image.
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

Encoded = bytes | memoryview


class BufferPool:
    """Buffers for encoded images that wait in a window, used again once they are released; any thread may ask.

    The holes that they would leave in the system's memory, each of another size, are searched by every decoding, which
    asks for large pieces too.
    """

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
SEEK_BYTES = 64 << 10  # what is to be passed over is read up to so many bytes, sought beyond
MAX_NAME_BYTES = 1 << 20  # of a long name or pax header; what is longer is taken as damaged

FILES = b"0\0" + b"7"  # with the old kind, and what asks for a contiguous place
KINDS = {b"1": "link", b"2": "link", b"3": "device", b"4": "device", b"5": "folder", b"6": "device", b"S": "sparse"}
WITHOUT_CONTENT = b"123456"  # whatever size their header tells


class BrokenTar(Exception):
    """The tar cannot be read further; its text says where."""


@dataclass(slots=True)
class TarEntry:
    """A member. Its `kind` is "" for a plain file, else the word by which it is passed over: link, device, folder,
    sparse, special, or header (of which a part is damaged, so that its name or size is not certain)."""

    name: str
    size: int
    kind: str
    start: int  # of its first header
    place: int  # of its content


class TarReader:
    """The members of a tar in sequence. The file need not be seekable; where it is, large contents are sought over."""

    def __init__(self, file: BinaryIO | IO[bytes], pool: BufferPool | None = None) -> None:
        self._file, self._pool = file, pool
        self._place = self.end = 0  # where the file stands, and where the next member begins
        self._may_end = False  # whether a file that ends at `end` is whole

    def next(self) -> TarEntry | None:
        """The next member, whose content may be read until the one after it is asked for; None at the archive's end.
        Raises BrokenTar where there is no header."""
        start, name, size, is_certain, sparse = self.end, "", -1, True, False
        while True:
            block = self._next_block()
            if block == END:
                return None
            own_name, num_bytes, kind = _parse(block, self._place - BLOCK)
            place = self._place
            if kind in b"LKxgX":
                content = self._header(num_bytes)
                if kind == b"L":
                    name, is_certain = _text(content.rstrip(b"\0")), is_certain and bool(content)
                elif kind in b"xX":
                    pax, is_whole = _pax(content)
                    is_certain = is_certain and is_whole
                    name = _text(pax[b"path"]) if b"path" in pax else name
                    size = int(pax[b"size"]) if pax.get(b"size", b"").isdigit() and len(pax[b"size"]) < 20 else size
                    sparse = sparse or any(record.startswith(b"GNU.sparse") for record in pax)
                continue
            size = size if size >= 0 else num_bytes
            if kind == b"S" and block[482]:
                place = self._after_sparse_map()
            named = KINDS.get(kind, "" if kind in FILES else "special")
            if not named:
                named = "header" if not is_certain else "sparse" if sparse else ""
            stored = 0 if kind in WITHOUT_CONTENT else size
            self.end, self._may_end = place + stored + -stored % BLOCK, True
            return TarEntry(name or own_name, size, named, start, place)

    def read(self, entry: TarEntry) -> Encoded:
        """The content of the member that `next` gave last: in a buffer of the pool, if there is one."""
        if self._pool is None or entry.size not in SIZES:
            return self._read(entry.size)
        buffer = self._pool.acquire(entry.size)
        num_read = self._file.readinto(buffer)  # type: ignore[union-attr]
        self._place += num_read
        if num_read < entry.size:
            raise BrokenTar(f"ends at byte {self._place}, inside the archive")
        return buffer

    def _next_block(self) -> bytes:
        """The block where the next member begins, read together with what is left before it; END where the file ends
        there."""
        gap = self.end - self._place
        if gap >= SEEK_BYTES:
            self._skip(gap - BLOCK)
            gap = BLOCK
        data = self._file.read(gap + BLOCK)
        self._place += len(data)
        if len(data) == gap and self._may_end:
            return END  # not marked, as some writers leave it; the last member is whole
        if len(data) < gap + BLOCK:
            raise BrokenTar(f"ends at byte {self._place}, inside the archive")
        return data[gap:]

    def _header(self, num_bytes: int) -> bytes:
        """The content of a long name or pax header; nothing of one that is too long."""
        self.end, self._may_end = self._place + num_bytes + -num_bytes % BLOCK, False
        return self._read(num_bytes) if num_bytes <= MAX_NAME_BYTES else b""

    def _after_sparse_map(self) -> int:
        """Where the content of an old sparse member begins: behind further blocks of its map."""
        while self._read(BLOCK)[504]:
            pass
        return self._place

    def _skip(self, num_bytes: int) -> None:
        if self._file.seekable():
            self._file.seek(self._place + num_bytes)
            self._place += num_bytes
            return
        while num_bytes:
            num_bytes -= len(self._read(min(num_bytes, SEEK_BYTES)))

    def _read(self, num_bytes: int) -> bytes:
        data = self._file.read(num_bytes)
        self._place += len(data)
        if len(data) < num_bytes:
            raise BrokenTar(f"ends at byte {self._place}, inside the archive")
        return data


def _parse(block: bytes, place: int) -> tuple[str, int, bytes]:
    """The member's name, size and kind."""
    try:
        if not _is_sum(int(block[148:156].strip(b" \0"), 8), block):
            raise ValueError("checksum")
        size = _number(block[124:136])
    except ValueError:
        raise BrokenTar(f"no tar header at byte {place}") from None
    if size < 0:
        raise BrokenTar(f"member of {size} bytes at byte {place}")
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:262] == b"ustar" and block[263:265] == b"00":
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return _text(name), size, block[156:157]


def _text(name: bytes) -> str:
    """Names that are not UTF-8 stay apart from each other."""
    return name.decode("utf-8", "backslashreplace")


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


def _pax(content: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The records of a pax header, each of the form "LENGTH NAME=VALUE\\n", and whether all of it was such records."""
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(content) and content[place]:
        digits, space, _ = content[place : place + 12].partition(b" ")
        end = place + int(digits) if space and digits.isdigit() else -1
        name, equals, value = content[place + len(digits) + 1 : end].partition(b"=")
        if not place < end <= len(content) or not equals or value[-1:] != b"\n":
            return found, False
        found[name] = value[:-1]
        place = end
    return found, bool(found)


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
        self.copy(header(name, len(content)) + content + padding(len(content)))

    def copy(self, blocks: bytes) -> None:
        """Whole blocks of another tar."""
        self._file.write(blocks)
        self._written += len(blocks)

    def close(self) -> None:
        """Writes the end; the file stays open."""
        self._file.write(bytes(2 * _BLOCK_BYTES + -(self._written + 2 * _BLOCK_BYTES) % _RECORD_BYTES))


def padding(num_bytes: int) -> bytes:
    """What follows a content of so many bytes, up to the next block."""
    return bytes(-num_bytes % _BLOCK_BYTES)


def header(name: str, num_bytes: int) -> bytes:
    """The 512 bytes before a member's content, as tarfile writes them. Raises ValueError where it would need more."""
    named, size = name.encode("ascii"), b"%011o\0" % num_bytes
    if len(named) > _LONGEST_NAME or len(size) > 12:
        raise ValueError(f"{name}, {num_bytes} bytes: not a plain member of a tar file")
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(named) + sum(size))
    return b"".join((named.ljust(_LONGEST_NAME, b"\0"), _AFTER_NAME, size, _AFTER_SIZE, checksum, _AFTER_SUM))


def resized_header(headers: bytes, name: str, num_bytes: int) -> bytes:
    """A member's headers as they were, but for a content of so many bytes."""
    size, last = b"%011o\0" % num_bytes, headers[-BLOCK:]
    if b" size=" in headers[:-BLOCK]:  # of a pax header, which goes before the header's own
        info = tarfile.TarInfo(name)
        info.size = num_bytes
        return info.tobuf(tarfile.PAX_FORMAT)
    before, after = last[:124] + size + last[136:148], last[156:]
    return headers[:-BLOCK] + before + b"%06o\0 " % sum(before + _BLANK_SUM + after) + after


def members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """(name, where its content starts, its bytes) of each member. Raises ValueError where one is not plain."""
    reader = TarReader(file)
    while True:
        place = reader.end
        try:
            entry = reader.next()
        except BrokenTar as error:
            raise ValueError(f"{error}") from None
        if entry is None:
            return
        if entry.kind or entry.place != place + BLOCK:
            raise ValueError(f"at byte {place} stands no plain member of a tar file")
        yield entry.name, entry.place, entry.size
