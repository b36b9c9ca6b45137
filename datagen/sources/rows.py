"""Rows of csv, tsv and jsonl files; one that is damaged is counted (`records_damaged`) and left out."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from datagen.sources.members import open_pieces

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
