"""The WARC records of a file that hold a given text, found by a walk along their lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from datagen.sources.compressed import open_pieces

MAX_RECORD_BYTES = 64 << 20  # Common Crawl cuts pages at 5 MiB
MAX_HEADER_BYTES = 64 << 10
FIRST_RECORDS = 8  # whose headers tell what the file is
_MAGIC = b"WARC/"
_GAP = b"\r\n\r\n"  # ends a header, and stands behind each record; some writers leave out the \r
_HEADER_END = re.compile(rb"\n\r?\n")
_NEXT_RECORD = re.compile(rb"\n\r?\n(?=WARC/)")
_BREAKS = re.compile(rb"[\r\n]*")
_LENGTH = re.compile(rb"\nContent-Length:[ \t]*(\d{1,15})\s", re.IGNORECASE)


class WarcRecord(NamedTuple):
    """A record's header lines and its body."""

    offset: int  # in the file: of its gzip member or zstd frame, or of its first byte where the file is plain
    header: bytes
    body: memoryview


def read_records(
    url: str, stream: IO[bytes], needle: bytes, counts: Counter[str], check: Callable[[bytes], None]
) -> Iterator[WarcRecord]:
    """The records that hold `needle`, in order; all whole ones are counted (`records`). Damaged ones are counted
    (`records_damaged`) and left out, as those longer than MAX_RECORD_BYTES; of a file that breaks off, all before the
    end is given (`files_truncated`). `check` is given the headers of the first records, and may raise.
    """
    packed, pieces = open_pieces(url, stream, counts)
    held, held_at = b"", 0  # the beginning of a record whose rest is in the pieces to come
    num_checked = 0
    for offset, piece in pieces:
        begins = piece is not None and piece.startswith(_MAGIC)
        if piece is None or (packed and held and begins and offset != held_at):  # what is held will not go on
            counts["records_damaged"] += 1
            held = b""
        if piece is None:
            continue
        if packed and not held and begins and piece.endswith(_GAP):  # mostly a record of its own
            if num_checked < FIRST_RECORDS:
                check(piece[:MAX_HEADER_BYTES])
                num_checked += 1
            if needle not in piece:
                counts["records"] += 1
                continue
            if body := _only_body(piece):
                counts["records"] += 1
                yield WarcRecord(offset, piece[:body], memoryview(piece)[body : -len(_GAP)])
                continue
        data, at = (held + piece, held_at) if held else (piece, offset)
        spans, rest = _walk(data, counts)
        for start, body, end in spans:
            counts["records"] += 1
            if num_checked < FIRST_RECORDS:
                check(data[start:body])
                num_checked += 1
            if data.find(needle, body, end) >= 0:
                yield WarcRecord(at if packed else at + start, data[start:body], memoryview(data)[body:end])
        held, held_at = data[rest:], offset if packed else at + rest
    if held and not counts["files_truncated"]:
        counts["files_truncated"] += 1


def _only_body(piece: bytes) -> int:
    """Where the body begins if what begins as a record is no more than that; else 0."""
    body = piece.find(_GAP) + len(_GAP)
    length = _LENGTH.search(piece, 0, body)
    return body if length and body + int(length[1]) + len(_GAP) == len(piece) else 0


def _walk(data: bytes, counts: Counter[str]) -> tuple[list[tuple[int, int, int]], int]:
    """Of each whole record where it, its body and its successor begin; and where the walk came to."""
    spans: list[tuple[int, int, int]] = []
    pos = 0
    while True:
        breaks = _BREAKS.match(data, pos)
        assert breaks is not None, "it matches nothing, too"
        pos = breaks.end()
        if len(data) - pos < len(_MAGIC):
            return spans, pos
        is_record = data.startswith(_MAGIC, pos)
        body = _HEADER_END.search(data, pos, pos + MAX_HEADER_BYTES)
        if is_record and body is None and len(data) - pos < MAX_HEADER_BYTES:
            return spans, pos
        length = _LENGTH.search(data, pos, body.end()) if is_record and body else None
        if body is None or length is None or int(length[1]) > MAX_RECORD_BYTES:
            counts["records_damaged"] += 1
            found = _NEXT_RECORD.search(data, pos)
            pos = found.start() if found else len(data)
            continue
        end = body.end() + int(length[1])
        if end > len(data):
            return spans, pos
        spans.append((pos, body.end(), end))
        pos = end
