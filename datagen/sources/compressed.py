"""Files in pieces, decompressed where they are gzip (by ISA-L) or zstd.

Common Crawl writes each record as a gzip member of its own: what is damaged stays in one of them.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO

import zstandard
from isal import isal_zlib

from openwit import storage
from wit_queries.wikipedia.compressed import ZstdFrame

Pieces = Iterator[tuple[int, bytes | None]]
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
READ_BYTES = 1 << 20
MAX_PIECE_BYTES = 16 << 20  # a few bytes of a compressed file may stand for any number
_GZIP_FORMAT = 31  # zlib's wbits for a gzip header and the largest window
_PROOF_BYTES = 1 << 16
_MAGIC = re.compile(re.escape(GZIP_MAGIC))


def open_pieces(url: str, stream: IO[bytes], counts: Counter[str]) -> tuple[bool, Pieces]:
    """Whether the file is compressed, and its bytes in pieces: each with the offset of its gzip member or zstd frame,
    or of its first byte where the file is plain. A member is mostly one piece, and none is longer than MAX_PIECE_BYTES.
    None stands for a damaged one; reading goes on at the next member. Of a file that breaks off, all before the end is
    given (`files_truncated`). Raises InputError, also while the pieces are read, where the file cannot be read.
    """
    chunks = _chunks(url, stream)
    first = next(chunks, b"")
    chunks = itertools.chain([first], chunks)
    if first.startswith(GZIP_MAGIC):
        return True, _inflated(chunks, counts)
    if first.startswith(ZSTD_MAGIC):
        return True, _unpacked(chunks, counts)
    return False, _plain(chunks)


def _chunks(url: str, stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        with storage.reading(url):
            chunk = stream.read(READ_BYTES)
        if not chunk:
            return
        yield chunk


def _plain(chunks: Iterable[bytes]) -> Pieces:
    offset = 0
    for chunk in chunks:
        yield offset, chunk
        offset += len(chunk)


def _inflated(chunks: Iterable[bytes], counts: Counter[str]) -> Pieces:
    base = start = 0
    member = None
    lost = False  # after damage, until a member begins
    for chunk in chunks:
        view = memoryview(chunk)
        # Where members seem to begin: given no more, the inflater need not copy what is left over, and after damage
        # the next member is found.
        marks = [found.start() for found in _MAGIC.finditer(chunk)] + [len(chunk)]
        pos = marks[0] if lost else 0
        while pos < len(chunk):
            if member is None:
                member, start, lost = isal_zlib.decompressobj(_GZIP_FORMAT), base + pos, False
            end = marks[bisect_left(marks, pos + 1)]
            try:
                for piece in _steps(member, view[pos:end]):
                    yield start, piece
            except isal_zlib.error:  # type: ignore[misc]
                yield start, None
                member = None
                pos = marks[bisect_left(marks, start - base + 1)]
                lost = pos == len(chunk)
                continue
            pos = end
            if member.eof:
                pos -= len(member.unused_data)
                member = None
            elif _begins_member(view[end:]):  # in the middle of this one: its end is lost
                yield start, None
                member = None
        base += len(chunk)
    if member is not None:
        counts["files_truncated"] += 1


def _steps(member: isal_zlib.Decompress, data: bytes | memoryview) -> Iterator[bytes]:
    """What the data says, in pieces of a bounded length."""
    while True:
        piece = member.decompress(data, MAX_PIECE_BYTES)
        if piece:
            yield piece
        data = member.unconsumed_tail
        if member.eof or not (data or len(piece) == MAX_PIECE_BYTES):
            return


def _begins_member(view: memoryview) -> bool:
    """Whether a member begins there, and not only looks so: what does not soon proves to be no deflate data."""
    try:
        return bool(isal_zlib.decompressobj(_GZIP_FORMAT).decompress(view[:_PROOF_BYTES], MAX_PIECE_BYTES))
    except isal_zlib.error:  # type: ignore[misc]  # its stub declares a variable
        return False


def _unpacked(chunks: Iterable[bytes], counts: Counter[str]) -> Pieces:
    base = start = 0
    frame = None
    for chunk in chunks:
        rest = chunk
        while rest:
            if frame is None:
                frame, start = ZstdFrame(), base + len(chunk) - len(rest)
            try:
                while True:  # a block at a time
                    piece = frame.decompress(rest, READ_BYTES)
                    rest = b""
                    if piece:
                        yield start, piece
                    if frame.eof or frame.needs_input:
                        break
            except zstandard.ZstdError:
                yield start, None
                return
            if frame.eof:
                rest = frame.unused_data
                frame = None
        base += len(chunk)
    if frame is not None:
        with contextlib.suppress(zstandard.ZstdError):
            yield start, frame.unfinished()
        counts["files_truncated"] += 1
