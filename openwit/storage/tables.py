"""Parquet files by URL, read whole or by row group; what cannot be read is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit import storage
from openwit.errors import InputError

RANGE_BYTES = 64 << 10  # fetched at once where only parts of a remote file are wanted


RUN_AGAIN = "; delete it and run the step before"


@contextlib.contextmanager
def open_parquet(url: str, block_bytes: int | None = None, advice: str = RUN_AGAIN) -> Iterator[pq.ParquetFile]:
    """The opened file. Raises InputError, naming the file, where it is missing, or where what is read of it meanwhile
    is damaged; its message ends in `advice`."""
    with storage.open_input(url, block_bytes) as file, _named(url, advice):
        yield pq.ParquetFile(file)


@contextlib.contextmanager
def _named(url: str, advice: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{url}: cannot be read as parquet ({error}){advice}") from None


def read_wanted(url: str, columns: Sequence[str], wanted: pc.Expression) -> pa.Table:
    """The rows for which `wanted` holds, of the columns named; what a row group's statistics rule out is not read.
    Raises InputError, naming the file, where it is missing, damaged, or lacks columns."""
    with storage.open_input(url) as file, _named(url, RUN_AGAIN):
        return pq.read_table(file, columns=list(columns), filters=wanted)


def read_table(url: str, columns: Sequence[str] | None = None, rows: tuple[int, int] | None = None) -> pa.Table:
    """The table, of all columns or those named, of all rows or the half-open range `rows` (only the row groups that
    hold them are read). Raises InputError, naming the file, where it is missing, damaged, or lacks columns or rows."""
    with open_parquet(url, None if rows is None else RANGE_BYTES) as parquet:
        missing = set(columns or ()) - set(parquet.schema_arrow.names)
        if missing:
            raise InputError(f"{url}: lacks the column {min(missing)}; it has {', '.join(parquet.schema_arrow.names)}")
        names = list(columns) if columns is not None else None
        return parquet.read(names) if rows is None else _read_rows(parquet, names, rows, url)


def _read_rows(parquet: pq.ParquetFile, names: list[str] | None, rows: tuple[int, int], url: str) -> pa.Table:
    start, end = rows
    if not 0 <= start <= end <= parquet.metadata.num_rows:
        raise InputError(f"{url}: lacks the rows {start} up to {end}; it has {parquet.metadata.num_rows}")
    groups: list[int] = []
    first = passed = 0
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        if passed < end and passed + size > start:
            first = passed if not groups else first
            groups.append(group)
        passed += size
    return parquet.read_row_groups(groups, names).slice(start - first, end - start)


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """The whole column as one array."""
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
