"""Bytes of plain, bz2, gzip or zstd files by fsspec URL, decompressed as a stream; damage is named by file and offset.

A compressed file may hold several streams end to end (bz2 streams, gzip members, zstd frames). Of bz2 and plain files
a span can be read, from the first stream or byte that begins in it.

One frame of a .zst file, decompressed a block at a time: zstandard's own objects swell a whole input at once.
"""

from __future__ import annotations

import bz2
import hashlib
import posixpath
import re
import zlib
from collections.abc import Iterator
from typing import IO, Literal, Protocol

import zstandard

from openwit import storage
from openwit.errors import InputError

MAX_WINDOW_BYTES = 1 << 31  # what `zstd --long=31` writes
MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1 to 3 of a frame without data, as parallel writers put between theirs
_MAX_BLOCK_BYTES = 128 << 10


class ZstdFrame:
    """A frame with the interface of bz2's decompressor. A step gives at most one block, 128 KiB, whatever its
    `max_length`. Raises ZstdError where the data is damaged. The layout is RFC 8878's, sections 3.1.1 and 3.1.2."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        self._held, self._at = b"", 0
        self._in_blocks = self._has_checksum = False
        self._num_skipped = 0  # bytes of a skippable frame that are still to come
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        """What follows the frame's end."""
        return self._held[self._at :]

    @property
    def needs_input(self) -> bool:
        """Whether the next step has to wait for more data."""
        return not self._num_piece_bytes()

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The text of the next block, or b"" where it is not whole yet."""
        assert max_length >= _MAX_BLOCK_BYTES
        if data:
            self._held, self._at = self._held[self._at :] + data, 0
        num_bytes = self._num_piece_bytes()
        if not num_bytes:
            return b""
        piece = self._held[self._at : self._at + num_bytes]
        self._at += num_bytes
        if self._num_skipped or (not self._in_blocks and piece[1:4] == SKIPPABLE):
            self._skip(piece)
            return b""
        self.eof = self._in_blocks and bool(piece[0] & 1)
        self._has_checksum = self._has_checksum if self._in_blocks else bool(piece[4] & 4)
        self._in_blocks = True
        return self._inner.decompress(piece)

    def unfinished(self) -> bytes:
        """What a block says so far whose end is missing; nothing can follow."""
        return self._inner.decompress(self.unused_data) if self._in_blocks else b""

    def _skip(self, piece: bytes) -> None:
        if self._num_skipped:
            self._num_skipped -= len(piece)
        else:
            self._num_skipped = int.from_bytes(piece[4:8], "little")
        self.eof = not self._num_skipped

    def _num_piece_bytes(self) -> int:
        """The length of the header, or of the block (the last one with its checksum), that comes next; 0 where it
        is not whole yet."""
        at, num_held = self._at, len(self._held) - self._at
        if self._num_skipped:
            return min(self._num_skipped, num_held)
        if num_held < 5 - 2 * self._in_blocks:
            return 0
        if self._in_blocks:
            block = int.from_bytes(self._held[at : at + 3], "little")
            is_run = (block >> 1) & 3 == 1  # one byte, repeated
            needed = 3 + (1 if is_run else block >> 3) + 4 * (block & 1 and self._has_checksum)
        elif self._held[at + 1 : at + 4] == SKIPPABLE:
            needed = 8
        elif not self._held.startswith(MAGIC, at):
            raise zstandard.ZstdError("no frame begins here")
        else:
            flags = self._held[at + 4]
            is_single = flags >> 5 & 1
            needed = 6 - is_single + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
        return needed if needed <= num_held else 0


Kind = Literal["plain", "bz2", "gzip", "zstd"]
Span = tuple[int, int]

RAW_BYTES = 256 << 10
CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 2 << 20  # what is fetched at once of a remote file: s3fs would take 50 MB to read a header
MAGIC_BYTES = 6

# A bz2 stream's header, then its first block's mark or that of a stream without blocks. Ten given bytes do not come
# about by chance, so a hit is a stream; were hits tried out first, a damaged stream would go unnoticed.
BZ2_START = re.compile(rb"BZh[1-9](?:\x31\x41\x59\x26\x53\x59|\x17\x72\x45\x38\x50\x90)")
BZ2_START_BYTES = 10

_MAGIC: dict[bytes, Kind] = {b"BZh": "bz2", b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MAGIC |= {bytes([low]) + b"\x2a\x4d\x18": "zstd" for low in range(0x50, 0x60)}  # begins with a skippable frame
_UNREAD = {b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"PK\x03\x04": "zip"}


class DamagedInput(InputError):
    """Compressed data that is damaged or ends too early."""


class _Decompressor(Protocol):
    """One compressed stream; a file may hold several, end to end."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's object with the interface of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = len(out) < max_length and not self._inner.unconsumed_tail
        return out


def kind_of(url: str, start: bytes) -> Kind:
    """How the file that begins with `start` is compressed. Raises InputError where it is in a way that is not read."""
    for magic, name in _UNREAD.items():
        if start.startswith(magic):
            raise InputError(f"{url}: is {name} data; expected plain, bz2, gzip or zstd; compress it so")
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "plain")


def file_facts(url: str) -> dict[str, str | int]:
    """Name, size in bytes and sha256 of the file as stored, read once from start to end in constant memory."""
    return InputStream(url).read_through().facts()


class InputStream:
    """A file, or a half-open `span` of its stored bytes, read once. `num_bytes` is the place in the stored file up to
    which was read. `sha256` is of the file as stored, whole after the end; there is none of a span.

    A span's text is that of the compressed streams that begin in it (of a plain file: its bytes). What follows is
    read as long as the caller asks for more, since a record may reach over the end: `past_span` is true from the
    first chunk that lies behind the span, before which an empty chunk tells that the span has ended."""

    def __init__(self, url: str, span: Span | None = None) -> None:
        self.url, self.span = url, span
        self.num_bytes = 0
        self.past_span = False
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hex digest of what was read so far."""
        assert self.span is None, "a digest is of a whole file"
        return self._hash.hexdigest()

    def facts(self) -> dict[str, str | int]:
        """Name, size and digest, for the list's record of its inputs."""
        return {"name": posixpath.basename(self.url), "bytes": self.num_bytes, "sha256": self.sha256}

    def read_through(self) -> InputStream:
        """Reads the stored bytes to their end without decompressing them."""
        with storage.open_input(self.url) as file:
            for _ in self._raw(file, b""):
                pass
        return self

    def chunks(self) -> Iterator[bytes]:
        """The decompressed bytes, at most 1 MiB at a time. Raises DamagedInput, with the offset in the stored file,
        where the data is damaged or cut off, InputError where it is compressed in a way that is not read."""
        begin = self.span[0] if self.span else 0
        with storage.open_input(self.url, BLOCK_BYTES) as file:
            start = _first_bytes(self.url) if begin else file.read(MAGIC_BYTES)
            kind = kind_of(self.url, start)
            if begin:
                assert kind in ("plain", "bz2"), "others are not cut"
                start, self.num_bytes = b"", file.seek(begin)
            raw = self._raw(file, start)
            if kind == "plain":
                yield from self._plain(raw)
            else:
                yield from self._decompressed(raw, kind)

    def _raw(self, file: IO[bytes], start: bytes) -> Iterator[bytes]:
        while data := start + file.read(RAW_BYTES):
            start = b""
            self.num_bytes += len(data)
            if self.span is None:
                self._hash.update(data)
            yield data

    def _plain(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        for data in raw:
            begin = self.num_bytes - len(data)
            if self._is_past(self.num_bytes - 1) and not self.past_span:
                assert self.span is not None
                yield data[: self.span[1] - begin]
                data = data[self.span[1] - begin :]
                yield self._announce_end()
            yield data

    def _decompressed(self, raw: Iterator[bytes], kind: Kind) -> Iterator[bytes]:
        data = self._first_stream(raw) if self.span and self.span[0] else next(raw)
        while data := self._at_stream(data, raw, kind):
            if self._is_past(self.num_bytes - len(data)) and not self.past_span:
                yield self._announce_end()
            stream = _new(kind)
            while not stream.eof:
                try:
                    data = self._more(raw, kind) if stream.needs_input and not data else data
                    out = stream.decompress(data, CHUNK_BYTES)
                except (OSError, zlib.error, EOFError, zstandard.ZstdError) as error:
                    raise self._damaged(kind, self.num_bytes - len(data), str(error)) from None
                data = b""
                if out:
                    yield out
            data = stream.unused_data

    def _first_stream(self, raw: Iterator[bytes]) -> bytes:
        """What was read from the first bz2 stream on that begins at the span's start or later; b"" where none does."""
        data = b""
        for more in raw:
            data += more
            if hit := BZ2_START.search(data):
                return data[hit.start() :]
            data = data[1 - BZ2_START_BYTES :]
            if self._is_past(self.num_bytes - len(data)):
                break
        self.past_span = True
        return b""

    def _at_stream(self, data: bytes, raw: Iterator[bytes], kind: Kind) -> bytes:
        """The data from the next stream's start on, without the zeros that may pad files; b"" at the end."""
        data = data.lstrip(b"\0")
        while len(data) < BZ2_START_BYTES and (more := next(raw, b"")):
            data = (data + more).lstrip(b"\0")
        if kind == "bz2" and data and not BZ2_START.match(data):
            if len(data) < BZ2_START_BYTES:
                raise self._ends_early(kind)
            raise self._damaged(kind, self.num_bytes - len(data), "no stream begins here")
        return data

    def _is_past(self, offset: int) -> bool:
        return self.span is not None and offset >= self.span[1]

    def _announce_end(self) -> bytes:
        self.past_span = True
        return b""

    def _more(self, raw: Iterator[bytes], kind: Kind) -> bytes:
        data = next(raw, b"")
        if not data:
            raise self._ends_early(kind)
        return data

    def _ends_early(self, kind: Kind) -> DamagedInput:
        return DamagedInput(
            f"{self.url}: ends at byte {self.num_bytes} in the middle of its {kind} data; "
            "expected the end of the stream; fetch it again"
        )

    def _damaged(self, kind: Kind, offset: int, what: str) -> DamagedInput:
        return DamagedInput(f"{self.url}: damaged {kind} data near byte {offset} ({what}); fetch it again")


def _first_bytes(url: str) -> bytes:
    """Read on their own: a remote file opened for reading on would fetch a whole block for them."""
    with storage.open_input(url, MAGIC_BYTES) as file:
        return file.read(MAGIC_BYTES)


def _new(kind: Kind) -> _Decompressor:
    if kind == "zstd":
        return ZstdFrame()
    return bz2.BZ2Decompressor() if kind == "bz2" else _Gzip()
