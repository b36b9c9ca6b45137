from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from openwit.errors import InputError
from openwit.storage.tables import open_parquet, read_table, read_wanted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), file, row_group_size=2)
    return file


def test_a_table_is_read_whole_or_by_column(path: Path) -> None:
    assert read_table(str(path)).to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    assert read_table(str(path), ["b"]).column_names == ["b"]


@pytest.mark.parametrize(("start", "end"), [(start, end) for end in range(4) for start in range(end + 1)])
def test_a_range_of_rows_is_read_wherever_the_row_groups_end(path: Path, start: int, end: int) -> None:
    assert read_table(str(path), ["a"], rows=(start, end)).to_pydict() == {"a": [1, 2, 3][start:end]}


def test_rows_that_are_not_there_are_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"table\.parquet: lacks the rows 2 up to 4; it has 3"):
        read_table(str(path), rows=(2, 4))


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


def test_the_wanted_rows_are_read_also_by_a_column_that_is_not(path: Path) -> None:
    assert read_wanted(str(path), ["b"], pc.field("a") >= 2).to_pydict() == {"b": ["y", "z"]}
    assert read_wanted(str(path), ["b", "a"], pc.field("b") == "none").to_pydict() == {"b": [], "a": []}


def test_damage_that_shows_while_an_opened_file_is_read_is_named_with_the_advice(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56  # the first pages; the footer is whole
    path.write_bytes(data)
    with (
        pytest.raises(InputError, match=r"(?s)table\.parquet: cannot be read as parquet .*; fetch it again$"),
        open_parquet(str(path), advice="; fetch it again") as parquet,
    ):
        parquet.read()
    with pytest.raises(InputError, match=r"(?s)cannot be read as parquet .*; delete it and run the step before$"):
        read_wanted(str(path), ["a"], pc.field("a") == 1)
