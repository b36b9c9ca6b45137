"""The WARC records of a file that hold a given text, found by a walk along their lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, NamedTuple

from datagen.sources.compressed import open_pieces

_MAGIC = b"WARC/"
_GAP = b"\r\n\r\n"  # ends a header, and stands behind each record
_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d+)", re.IGNORECASE)


class WarcRecord(NamedTuple):
    """A record's header lines and its body."""

    offset: int  # in the file: of its gzip member or zstd frame, or of its first byte where the file is plain
    header: bytes
    body: memoryview


def read_records(url: str, stream: IO[bytes], needle: bytes, counts: Counter[str]) -> Iterator[WarcRecord]:
    """The records that hold `needle`, in order; all whole ones are counted (`records`). Damaged ones are counted
    (`records_damaged`) and left out; of a file that breaks off, all before the end is given (`files_truncated`).
    """
    packed, pieces = open_pieces(url, stream, counts)
    held, held_at = b"", 0  # the beginning of a record whose rest is in the pieces to come
    for offset, piece in pieces:
        if piece is None or (packed and held and piece.startswith(_MAGIC)):  # what is held will not go on
            counts["records_damaged"] += 1
            held = b""
        if piece is None:
            continue
        if packed and not held and piece.startswith(_MAGIC) and piece.endswith(_GAP):  # mostly a record of its own
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
        while data.startswith(b"\r\n", pos):
            pos += 2
        if len(data) - pos < len(_MAGIC):
            return spans, pos
        body = data.find(_GAP, pos) + len(_GAP)
        is_record = data.startswith(_MAGIC, pos)
        if is_record and body < len(_GAP):
            return spans, pos
        length = _LENGTH.search(data, pos, body) if is_record else None
        if length is None:
            counts["records_damaged"] += 1
            found = data.find(_GAP + _MAGIC, pos)
            pos = found if found >= 0 else len(data)
            continue
        end = body + int(length[1])
        if end > len(data):
            return spans, pos
        spans.append((pos, body, end))
        pos = end
