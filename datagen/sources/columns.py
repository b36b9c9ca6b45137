"""Which columns of a table hold image URLs, captions and pages: by the config, by the usual names, or by their look.

Rows of csv, tsv and jsonl files; one that is damaged is counted (`records_damaged`) and left out.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import msgspec

from datagen.sources.compressed import open_pieces
from openwit.errors import InputError

# As LAION (URL, TEXT), COYO and DataComp (url, text), cc2dataset (url, alt, page_url) and others name them; whatever
# their case, the first of these names that a table has.
URL_NAMES = ("url", "image_url")
CAPTION_NAMES = ("caption", "text", "alt")
PAGE_NAME = "page_url"


class Wanted(NamedTuple):
    """The config's names of columns, or numbers from 1 for tables without header; both empty: the usual names."""

    url: str = ""
    caption: str = ""


class FoundColumns(NamedTuple):
    """Places of columns, from 0; no page: -1."""

    url: int
    caption: int
    page: int = -1


def find_columns(file: str, names: Sequence[str], wanted: Wanted) -> FoundColumns:
    """The columns among `names`. Raises InputError where they are not there."""
    if wanted.url:
        missing = [name for name in wanted if name not in names]
        if missing:
            raise InputError(f"{file}: lacks the column {missing[0]}; it has {', '.join(names)}")
        return FoundColumns(names.index(wanted.url), names.index(wanted.caption), _place([PAGE_NAME], names))
    found = FoundColumns(_place(URL_NAMES, names), _place(CAPTION_NAMES, names), _place([PAGE_NAME], names))
    if found.url < 0 or found.caption < 0:
        raise InputError(
            f"{file}: which column is the image URL, which the caption? It has {', '.join(names)[:200]}; "
            "write --sources.url_column and --sources.caption_column, numbers from 1 where there is no header"
        )
    return found


def find_in_first_row(file: str, row: Sequence[str], wanted: Wanted) -> tuple[FoundColumns, bool]:
    """The columns of a csv or tsv file, and whether its first row is a header. Without one, a table of two columns
    needs no names: one holds the URL (CC3M has it second, CC12M first). Raises InputError where it cannot be said."""
    if wanted.url.isdecimal() and wanted.caption.isdecimal():
        found = FoundColumns(int(wanted.url) - 1, int(wanted.caption) - 1)
        if not all(0 <= place < len(row) for place in found[:2]):
            raise InputError(f"{file}: has {len(row)} columns, expected the columns {wanted.url} and {wanted.caption}")
        return found, False
    urls = [place for place, field in enumerate(row) if field.strip().lower().startswith(("http://", "https://"))]
    if not wanted.url and len(row) == 2 and len(urls) == 1:
        return FoundColumns(urls[0], 1 - urls[0]), False
    return find_columns(file, [name.strip() for name in row], wanted), True


def _place(candidates: Sequence[str], names: Sequence[str]) -> int:
    lowered = [name.lower() for name in names]
    return next((lowered.index(name) for name in candidates if name in lowered), -1)


_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_objects(url: str, stream: IO[bytes], counts: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a jsonl file with the numbers of their lines, from 1."""
    for number, line in enumerate(_lines(url, stream, counts), 1):
        if not line.strip():
            continue
        try:
            yield number, _OBJECT.decode(line)
        except msgspec.DecodeError:
            counts["records_damaged"] += 1


def read_fields(url: str, stream: IO[bytes], is_tsv: bool, counts: Counter[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv or tsv file, its header among them, with the numbers of their (last) lines, from 1. Rows with
    another number of fields than the first are damaged. In tsv a quote is a letter like others, as in CC3M and CC12M.
    """
    lines = _lines(url, stream, counts)
    rows = csv.reader(lines, csv.excel_tab, quoting=csv.QUOTE_NONE) if is_tsv else csv.reader(lines)
    num_fields = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            counts["records_damaged"] += 1
            continue
        num_fields = num_fields or len(row)
        if len(row) == num_fields:
            yield rows.line_num, row
        elif row:
            counts["records_damaged"] += 1


def _lines(url: str, stream: IO[bytes], counts: Counter[str]) -> Iterator[str]:
    """The lines with their ends, an empty one in the place of one that is not UTF-8, which is counted."""
    for line in _byte_lines(url, stream, counts):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            counts["records_damaged"] += 1
            yield ""


def _byte_lines(url: str, stream: IO[bytes], counts: Counter[str]) -> Iterator[bytes]:
    """The lines with their ends. What a file that breaks off holds of its last line is left out."""
    held = b""
    after_damage = False
    for _, piece in open_pieces(url, stream, counts)[1]:
        if piece is None:
            counts["records_damaged"] += 1
            held, after_damage = b"", True
            continue
        if after_damage:  # the end of a line whose beginning is lost
            piece = piece[piece.find(b"\n") + 1 or len(piece) :]
            after_damage = not piece
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if held and not counts["files_truncated"]:
        yield held
