from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from openwit.storage import row_groups
from openwit.storage.row_groups import add_up, read_bucket, read_runs, write_buckets

SCHEMA = pa.schema([("word", pa.string()), ("count", pa.int64())])
RUNS = [[("a", 0), ("b", 2), ("c", 0)], [("d", 2), ("a", 0)], [("e", 1)]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    with pq.ParquetWriter(tmp_path / "runs.parquet", SCHEMA) as writer:
        for run in RUNS:
            table = pa.table([[word for word, _ in run], [1] * len(run)], schema=SCHEMA)
            write_buckets(writer, table, np.array([bucket for _, bucket in run], np.uint64), 3)
    return str(tmp_path / "runs.parquet")


def test_a_bucket_has_its_rows_of_all_runs_and_no_others(path: str) -> None:
    found = [read_bucket(path, bucket, 3)["word"].to_pylist() for bucket in range(3)]
    assert found == [["a", "c", "a"], ["e"], ["b", "d"]]


def test_a_run_comes_back_in_the_order_that_its_writing_returned(path: str, tmp_path: Path) -> None:
    assert [run["word"].to_pylist() for run in read_runs(path, 3)] == [["a", "c", "b"], ["a", "d"], ["e"]]
    with pq.ParquetWriter(tmp_path / "other.parquet", SCHEMA) as writer:
        table = pa.table([["x", "y", "z"], [1, 1, 1]], schema=SCHEMA)
        order = write_buckets(writer, table, np.array([2, 0, 1], np.uint64), 3)
    (run,) = read_runs(str(tmp_path / "other.parquet"), 3)
    assert run.equals(table.take(order))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but nothing more")
    with pytest.raises(InputError, match=r"bad.parquet: cannot be read as parquet"):
        read_bucket(str(tmp_path / "bad.parquet"), 0, 1)


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2**40))), min_size=1), st.integers(1, 9))
def test_sums_do_not_depend_on_how_many_rows_are_held(parts: list[list[tuple[str, int]]], most_rows: int) -> None:
    expected: Counter[str] = Counter()
    for part in parts:
        for word, count in part:
            expected[word] += count
    tables = [pa.table([[w for w, _ in part], [c for _, c in part]], schema=SCHEMA) for part in parts]
    before, row_groups.MAX_ROWS = row_groups.MAX_ROWS, most_rows
    try:
        total = add_up(tables, "word", "count")
    finally:
        row_groups.MAX_ROWS = before
    assert total.schema.equals(SCHEMA)
    assert list(zip(total["word"].to_pylist(), total["count"].to_pylist(), strict=True)) == sorted(expected.items())
