"""Parquet files whose rows are dealt to buckets: one row group each, so that a bucket of many files is read alone.

A file may hold several runs, each of which has all buckets: row group run · num_buckets + bucket.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from openwit.storage.tables import open_parquet

I64 = npt.NDArray[np.int64]

MAX_ROWS = 1 << 22  # that are held beside the sum of those before


def write_buckets(writer: pq.ParquetWriter, table: pa.Table, buckets: npt.NDArray[np.uint64], num_buckets: int) -> I64:
    """Writes a run: row i in the row group buckets[i]. Returns the order in which the rows stand in the file."""
    order = np.argsort(buckets, kind="stable")
    ends = np.searchsorted(buckets[order], np.arange(num_buckets + 1, dtype=np.uint64))
    ordered = table.take(order)
    for start, end in itertools.pairwise(ends):
        writer.write_table(ordered.slice(start, end - start), row_group_size=max(1, end - start))
    return order


def read_runs(url: str, num_buckets: int) -> Iterator[pa.Table]:
    """Each run of the file, in the order of its buckets. Raises InputError where the file cannot be read."""
    with open_parquet(url) as file:
        for start in range(0, file.num_row_groups, num_buckets):
            yield file.read_row_groups(range(start, start + num_buckets))


def read_bucket(url: str, bucket: int, num_buckets: int) -> pa.Table:
    """The rows of a bucket, of all runs. Raises InputError where the file cannot be read."""
    with open_parquet(url) as file:
        return file.read_row_groups(range(bucket, file.num_row_groups, num_buckets))


def add_up(tables: Iterable[pa.Table], key: str, value: str) -> pa.Table:
    """key · value, the values of equal keys added up, sorted by key. Memory holds the result and MAX_ROWS rows."""
    parts: list[pa.Table] = []
    rows = 0
    for table in tables:
        parts.append(table)
        rows += table.num_rows
        if rows >= MAX_ROWS:
            parts, rows = [_summed(parts, key, value)], 0
    return _summed(parts, key, value).sort_by(key)


def _summed(parts: list[pa.Table], key: str, value: str) -> pa.Table:
    groups = pa.concat_tables(parts).group_by(key, use_threads=False).aggregate([(value, "sum")])
    return groups.rename_columns([key, value])
