"""Pairs from tables of URLs (parquet, csv, tsv, jsonl), as LAION, COYO, CC3M, CC12M, DataComp and cc2dataset publish
them, or with columns that the config names."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import IO, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import FileKind
from datagen.schemas import PAIRS
from datagen.sources.columns import RowKeys, Wanted, find_columns, find_in_first_row
from datagen.sources.entities import resolve_all_entities
from datagen.sources.rows import read_fields, read_objects
from openwit import storage
from openwit.errors import InputError
from openwit.storage.tables import open_parquet

BATCH_ROWS = 1 << 15
HEAD_ROWS = 1000  # of a jsonl file, whose keys are known before the first is read
_TEXT_TYPES = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_binary_view, pa.types.is_fixed_size_binary, pa.types.is_null,
)  # fmt: skip
Texts = tuple[int, str, str | None, str | None]  # place, URL, caption, page


def read_pairs(url: str, kind: FileKind, wanted: Wanted, counts: Counter[str]) -> Iterator[pa.Table]:
    """The pairs of a table in its order, in tables of the columns PAIRS; `place` is the row of a parquet file, from 0,
    or the line of a text file, from 1. Rows that cannot be read are counted (`records_damaged`) and left out; of a
    text file that breaks off, all before the end is kept (`files_truncated`).

    Raises InputError where the file is missing, is no such table, or lacks the columns.
    """
    if kind == "parquet":
        with open_parquet(url, advice="") as file:
            yield from _parquet(url, file, wanted, counts)
        return
    with storage.open_input(url) as stream:
        rows = _objects(url, stream, wanted, counts) if kind == "jsonl" else _fields(url, stream, kind, wanted, counts)
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            places, urls, captions, pages = zip(*batch, strict=True)
            yield _table(pa.array(places), *(pa.array(texts, pa.string()) for texts in (urls, captions, pages)))


def _fields(url: str, stream: IO[bytes], kind: str, wanted: Wanted, counts: Counter[str]) -> Iterator[Texts]:
    rows = read_fields(url, stream, kind == "tsv", counts)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{url}: is empty; expected a {kind} table")
    at, has_header = find_in_first_row(url, first[1], wanted)
    for line, row in rows if has_header else itertools.chain([first], rows):
        yield line, row[at.url], row[at.caption], row[at.page] if at.page >= 0 else None


def _objects(url: str, stream: IO[bytes], wanted: Wanted, counts: Counter[str]) -> Iterator[Texts]:
    rows = read_objects(url, stream, counts)
    keys = RowKeys(wanted)
    head = list(itertools.islice(rows, HEAD_ROWS))
    for _, row in head:
        keys.note(row)
    for line, row in itertools.chain(head, rows):
        keys.note(row)
        image, caption, page = (row.get(key) if key is not None else None for key in keys.of(row))
        if caption is None or caption != caption:  # NaN is how pandas writes what is missing
            caption = ""
        if _is_text(image) and _is_text(caption):
            yield line, image, caption, page if _is_text(page) else None
        else:
            counts["records_damaged"] += 1
    keys.check(url)


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string that can be written: JSON's escapes may be halves of a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet(url: str, file: pq.ParquetFile, wanted: Wanted, counts: Counter[str]) -> Iterator[pa.Table]:
    try:
        names = file.schema_arrow.names
    except UnicodeDecodeError:
        raise InputError(f"{url}: names a column in no UTF-8; rename it") from None
    found = find_columns(url, names, wanted)
    columns = list(dict.fromkeys(names[place] for place in found if place >= 0))
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(BATCH_ROWS, [group], columns):
                yield _of_columns(url, start, [_column(batch, names[place]) for place in found if place >= 0], counts)
                start += len(batch)
        except (pa.ArrowException, OSError):
            counts["records_damaged"] += end - start
        start = end


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The first column of that name: tables joined side by side may have several."""
    return batch.column(batch.schema.get_all_field_indices(name)[0])


def _of_columns(url: str, start: int, columns: list[pa.Array], counts: Counter[str]) -> pa.Table:
    """The rows whose URL and caption are text; a caption that is null is empty, and so is a page that is no text."""
    texts = [_texts(url, column) for column in columns[:2]]
    pages = [_texts(url, column) for column in columns[2:] if _holds_text(column)]
    bad = pc.or_(pc.is_null(texts[0]), pc.and_(pc.is_null(texts[1]), pc.is_valid(columns[1])))
    places = pa.array(range(start, start + len(bad)), pa.int64())
    table = _table(places, *texts, *pages)
    damaged = pc.sum(bad).as_py() or 0
    counts["records_damaged"] += damaged
    return table.filter(pc.invert(bad)) if damaged else table


def _holds_text(column: pa.Array) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return any(check(kind) for check in _TEXT_TYPES)


def _texts(url: str, column: pa.Array) -> pa.Array:
    """The column as strings; null where a value is no UTF-8. Raises InputError for columns of other types."""
    if not _holds_text(column):
        raise InputError(f"{url}: a column of {column.type}; expected text for image URLs and captions")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    try:
        strings = column.cast(pa.string())
        strings.validate(full=True)
        return strings
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()], pa.string())


def _decoded(value: bytes | None) -> str | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None


def _table(places: pa.Array, urls: pa.Array, captions: pa.Array, pages: pa.Array | None = None) -> pa.Table:
    nothing = pa.array([""] * len(places)).dictionary_encode()
    columns = {
        "url": urls,
        "caption": resolve_all_entities(pc.fill_null(captions, "")),
        "caption_from": nothing,
        "base_url": nothing,
        "page_url": nothing if pages is None else pc.fill_null(pages, "").dictionary_encode(),
        "place": places,
    }
    return pa.table(columns, schema=PAIRS)
