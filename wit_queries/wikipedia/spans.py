"""Where a dump is cut, so that several workers read it.

A span owns the pages whose `<page>` begins in a bz2 stream that begins in the span (of plain XML: at a byte in it).
So spans need not be cut at streams: the reader looks for the first stream from the span's start on, which costs it
less than a second. A multistream index beside the dump (…-multistream-index.txt.bz2) spares it that: the spans are
then cut at the streams that the index lists. They own the same pages either way.
"""

from __future__ import annotations

import bisect
import posixpath
import re
from collections.abc import Iterator, Sequence

from fsspec.core import url_to_fs

from openwit import storage
from openwit.errors import InputError
from wit_queries.wikipedia.compressed import (
    BZ2_START,
    BZ2_START_BYTES,
    MAGIC_BYTES,
    DamagedInput,
    InputStream,
    Span,
    kind_of,
)

MAX_LINE_BYTES = 1 << 16
_LINE = re.compile(rb"(\d+):\d+:")
_DUMP_NAME = re.compile(r"(.*-multistream)(\d*)\.xml(.*)\.bz2")


def cut(url: str, size: int, split_bytes: int) -> list[Span]:
    """The half-open spans of stored bytes, in order and without gaps, in which a dump of `size` bytes is read: give
    each to Dump. They depend on the dump, its index and `split_bytes` alone. One span where the file cannot be read
    from its middle (gzip, zstd, a server without ranges). Of two spans or more the first is at least `split_bytes`
    long and the last at least half as long, unless an index has its streams elsewhere.

    The planner calls it. An index is read whole, in constant memory: about a minute for English Wikipedia's, once a
    command. Raises InputError where the index is damaged or another dump's."""
    starts: Sequence[int] = range(split_bytes, size - split_bytes // 2, split_bytes)
    if not starts or not _can_be_cut(url):
        return [(0, size)]
    if index := index_url(url):
        starts = _checked_starts(index, url, size, starts)
    return list(zip([0, *starts], [*starts, size], strict=True))


def index_url(url: str) -> str | None:
    """The dump's multistream index in its folder, named as Wikimedia names it: `…-multistream1.xml-p1p41.bz2` has
    `…-multistream-index1.txt-p1p41.bz2`, with or without .bz2; None where there is none."""
    folder, name = posixpath.split(url)
    match = _DUMP_NAME.fullmatch(name)
    if not match:
        return None
    base = storage.join(folder, f"{match[1]}-index{match[2]}.txt{match[3]}")
    return next((index for index in (f"{base}.bz2", base) if storage.exists(index)), None)


def _can_be_cut(url: str) -> bool:
    with storage.open_input(url, BZ2_START_BYTES) as file:
        kind = kind_of(url, file.read(MAGIC_BYTES))
        try:
            file.seek(0)
        except ValueError:  # fsspec's answer for a server without ranges
            return False
    return kind in ("plain", "bz2")


def _checked_starts(index: str, url: str, size: int, nominal: Sequence[int]) -> list[int]:
    """The first stream at or behind each nominal place that the index lists, each once."""
    starts = list(_starts_behind(index, size, nominal))
    fs, path = url_to_fs(url)
    with storage.reading(url):
        found = fs.cat_ranges([path] * len(starts), starts, [start + BZ2_START_BYTES for start in starts])
    for start, data in zip(starts, found, strict=True):
        if not BZ2_START.match(data):
            raise InputError(
                f"{index}: lists a stream at byte {start} of {posixpath.basename(url)}, where none begins; expected "
                "the index of this very dump; fetch it again, or move it away and the dump is cut without it"
            )
    return starts


def _starts_behind(index: str, size: int, nominal: Sequence[int]) -> Iterator[int]:
    last = -1
    waiting = iter(nominal)
    wanted = next(waiting, None)
    for lines in _whole_lines(index):
        offsets = [_offset(index, line) for line in (lines[:1] + lines[-1:])]
        if offsets != sorted(offsets) or offsets[0] < last or offsets[-1] >= size:
            raise InputError(
                f"{index}: lists byte {offsets[-1]} after byte {max(last, offsets[0])}; expected rising offsets below "
                f"the dump's {size} bytes; fetch it again, or move it away and the dump is cut without it"
            )
        last = offsets[-1]
        while wanted is not None and last >= wanted:
            start = _offset(index, lines[bisect.bisect_left(lines, wanted, key=lambda line: _offset(index, line))])
            yield start
            wanted = next((place for place in waiting if place > start), None)
    if last < 0:
        raise InputError(f"{index}: is empty; fetch it again, or move it away and the dump is cut without it")


def _whole_lines(index: str) -> Iterator[list[bytes]]:
    """The lines of the index, some thousands at a time."""
    rest = b""
    try:
        for chunk in InputStream(index).chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield lines
            if len(rest) > MAX_LINE_BYTES:
                _offset(index, b"a line without end")
    except DamagedInput as error:
        raise InputError(f"{error}, or move it away and the dump is cut without it") from None
    if rest:
        yield [rest]


def _offset(index: str, line: bytes) -> int:
    match = _LINE.match(line)
    if not match:
        raise InputError(
            f"{index}: has the line {line[:60].decode('utf-8', 'replace')!r}; expected offset:page id:title; "
            "fetch it again, or move it away and the dump is cut without it"
        )
    return int(match[1])
