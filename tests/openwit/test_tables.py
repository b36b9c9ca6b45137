from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openwit.errors import InputError
from openwit.tables import read_table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), file, row_group_size=2)
    return file


def test_a_table_is_read_whole_by_column_and_by_row_group(path: Path) -> None:
    assert read_table(str(path)).to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    assert read_table(str(path), ["b"]).column_names == ["b"]
    assert read_table(str(path), ["a"], row_group=1).to_pydict() == {"a": [3]}


def test_a_missing_column_is_named_with_those_that_are_there(path: Path) -> None:
    with pytest.raises(InputError, match=r"table\.parquet: lacks the column uid; it has a, b"):
        read_table(str(path), ["uid"])


@pytest.mark.parametrize("data", [b"", b"not parquet", b"PAR1" + b"\0" * 100])
def test_a_damaged_file_is_named(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"table\.parquet: cannot be read as parquet"):
        read_table(str(path))


def test_a_file_cut_in_the_middle_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"table\.parquet: cannot be read as parquet"):
        read_table(str(path))
