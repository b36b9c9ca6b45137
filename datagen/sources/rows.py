"""Rows of csv, tsv and jsonl files. One that is damaged is counted (`records_damaged`) and left out, and takes no other
with it: as many rows are read as the file has.

A csv field in quotes may hold line breaks. Where a quote is never closed, the row's first line is damaged and reading
goes on behind it. It counts as never closed when what follows
- holds a line that is a row of its own: as many fields as the others, one of which begins with http:// or https://
- closes it in the middle of a field, or so that the row has another number of fields
- is longer than MAX_ROW_LINES or MAX_ROW_BYTES, or the file ends.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from datagen.sources.compressed import open_pieces
from openwit.storage.lines import split_lines

MAX_LINE_BYTES = 4 << 20
MAX_ROW_LINES, MAX_ROW_BYTES = 1000, 1 << 17
BOM = b"\xef\xbb\xbf"
Row = list[str]
_Line = tuple[int, str, bool]  # its number, from 1; its text; whether that is what the file has

_OBJECT = msgspec.json.Decoder(dict[str, Any])
_LENIENT = json.JSONDecoder(parse_int=float)  # int() refuses numbers of thousands of digits
_IN_QUOTES = r'(?:[^"]++|"")*+'
# The fields of a line up to one whose quote is not closed. What stands behind a closing quote belongs to the field.
_OPEN = re.compile(rf'(?:(?:"{_IN_QUOTES}"[^,]*+|(?!")[^,]*+),)*+"{_IN_QUOTES}$')
_CLOSE = re.compile(rf'{_IN_QUOTES}(?:"(,|$)|$)')
_URL_FIELD = re.compile(r'(?:^|,)"?https?://', re.IGNORECASE)


def read_objects(url: str, stream: IO[bytes], counts: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a jsonl file with the numbers of their lines, from 1. NaN and Infinity, as Python writes them, are
    read."""
    for number, line in enumerate(_byte_lines(url, stream, counts), 1):
        text = (line or b"").removeprefix(BOM)
        if line is not None and not text.strip():
            continue
        row = _object(text)
        if row is None:
            counts["records_damaged"] += 1
        else:
            yield number, row


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        return _OBJECT.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        row = _LENIENT.decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def read_fields(url: str, stream: IO[bytes], is_tsv: bool, counts: Counter[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a csv or tsv file, its header among them, with the numbers of their (last) lines, from 1. Rows with
    another number of fields than the first are damaged. In tsv a quote is a letter like others, as in CC3M and CC12M.
    """
    rows = _Rows(_text_lines(_byte_lines(url, stream, counts)), "\t" if is_tsv else ",")
    while found := rows.next():
        number, lines = found
        for row in lines:
            if row is None:
                counts["records_damaged"] += 1
            else:
                yield number, row


class _Rows:
    """Rows of lines, of as many fields as the first one that is read."""

    def __init__(self, lines: Iterator[_Line], delimiter: str) -> None:
        self._lines, self._delimiter = lines, delimiter
        self._again: deque[_Line] = deque()  # lines that were taken for the rest of a row and are none
        self._num_fields = 0

    def next(self) -> tuple[int, list[Row | None]] | None:
        """The number of the last line that was read, and the rows that end there: none for an empty line, one, or
        several where single carriage returns part them; None for one that is damaged. None after the last line."""
        line = self._next_line()
        if line is None:
            return None
        number, text, is_sound = line
        if self._delimiter == "," and '"' in text:
            if _OPEN.match(text.removesuffix("\r")):
                return self._open_row(line)
            return number, [self._checked(_quoted(text)) if is_sound else None]
        if not is_sound:
            return number, [None]
        text = text.removesuffix("\r")
        if not text:
            return number, []
        if "\r" in text:
            return number, self._parted(text)
        return number, [self._checked(self._split(text))]

    def _next_line(self) -> _Line | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _open_row(self, first: _Line) -> tuple[int, list[Row | None]]:
        """The row that begins in a line whose last quote is not closed in it."""
        held, num_chars = [first], len(first[1])
        is_open = True
        while is_open:
            line = self._next_line()
            if line is None:
                return self._give_up(held)
            held.append(line)
            num_chars += len(line[1])
            text = line[1].removesuffix("\r")
            close = _CLOSE.match(text)
            is_long = len(held) > MAX_ROW_LINES or num_chars > MAX_ROW_BYTES
            if close is None or is_long or self._is_row(text, len(text) if close[1] is None else close.start(1)):
                return self._give_up(held)
            is_open = close[1] is None or bool(close[1] and _OPEN.match(text, close.end()))
        row = self._checked(_quoted("\n".join(text for _, text, _ in held)))
        if row is None:
            return self._give_up(held)
        return held[-1][0], [row if all(is_sound for _, _, is_sound in held) else None]

    def _give_up(self, held: list[_Line]) -> tuple[int, list[Row | None]]:
        """The first line is damaged; the others are read again."""
        self._again.extendleft(reversed(held[1:]))
        return held[0][0], [None]

    def _is_row(self, text: str, quoted: int) -> bool:
        """Whether a line would be a row of its own, with a URL in what is in quotes: text[:quoted]."""
        if not _URL_FIELD.search(text, 0, quoted):
            return False
        row = _quoted(text)
        return row is not None and len(row) == (self._num_fields or len(row))

    def _parted(self, text: str) -> list[Row | None]:
        """Carriage returns part rows where each of these has as many fields as others; else they are damage."""
        rows = [self._split(part) for part in text.split("\r") if part]
        num_fields = self._num_fields or len(rows[0])
        if num_fields > 1 and all(len(row) == num_fields for row in rows):
            return [self._checked(row) for row in rows]
        return [None]

    def _split(self, text: str) -> Row:
        return text.split(self._delimiter)

    def _checked(self, row: Row | None) -> Row | None:
        if row is None or len(max(row, key=len)) > MAX_ROW_BYTES:
            return None
        self._num_fields = self._num_fields or len(row)
        return row if len(row) == self._num_fields else None


def _quoted(text: str) -> Row | None:
    """The fields of one row of csv; None for no row."""
    try:
        return next(csv.reader([text]), None) or None
    except csv.Error:
        return None


def _text_lines(lines: Iterator[bytes | None]) -> Iterator[_Line]:
    for number, line in enumerate(lines, 1):
        if line is None:
            yield number, "", False
            continue
        try:
            yield number, line.decode(), True
        except UnicodeDecodeError:
            yield number, line.decode("latin-1"), False


def _byte_lines(url: str, stream: IO[bytes], counts: Counter[str]) -> Iterator[bytes | None]:
    """The lines without their ends; None for a damaged part and for a line above MAX_LINE_BYTES. What a file that
    breaks off holds of its last line is left out."""
    pieces = _with_line_feeds(piece for _, piece in open_pieces(url, stream, counts)[1])
    return split_lines(pieces, MAX_LINE_BYTES, lambda: bool(counts["files_truncated"]))


def _with_line_feeds(pieces: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The pieces without the byte order mark of the first; with line feeds where that has carriage returns alone."""
    is_first, is_old = True, False
    for piece in pieces:
        if piece and is_first:
            is_first, is_old = False, b"\r" in piece and b"\n" not in piece
            piece = piece.removeprefix(BOM)
        yield piece.replace(b"\r", b"\n") if piece and is_old else piece
