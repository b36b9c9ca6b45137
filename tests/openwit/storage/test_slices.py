from __future__ import annotations

import shutil
import threading
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from helpers.patience import patience
from openwit.errors import InputError
from openwit.storage.slices import READERS, map_ordered, read_slice, writing_slices

SCHEMA = pa.schema([("n", pa.int64()), ("t", pa.string())])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five slices; number n has n rows."""
    with writing_slices(tmp_path / "x.arrow", SCHEMA) as writer:
        for number in range(5):
            writer.write_batch(pa.record_batch([range(number), ["text"] * number], schema=SCHEMA))
    return tmp_path / "x.arrow"


def test_each_slice_is_read_by_its_number_also_an_empty_one(path: Path) -> None:
    for number in range(5):
        assert read_slice(str(path), number).to_pydict() == {"n": list(range(number)), "t": ["text"] * number}


def test_a_slice_is_read_from_other_file_systems(path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}/x.arrow"
    with path.open("rb") as source, fsspec.open(url, "wb") as copy:
        shutil.copyfileobj(source, copy)
    assert read_slice(url, 3)["n"].to_pylist() == [0, 1, 2]


def test_a_damaged_file_or_a_missing_slice_is_named(path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.arrow: slice 5 cannot be read"):
        read_slice(str(path), 5)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"x\.arrow: slice 0 cannot be read"):
        read_slice(str(path), 0)
    with pytest.raises(InputError, match=r"y\.arrow: no such file"):
        read_slice(str(path.with_name("y.arrow")), 0)


def test_many_are_read_at_once_and_come_in_order() -> None:
    together = threading.Barrier(READERS)

    def read(number: int) -> int:
        together.wait(timeout=patience(20))
        return number

    assert list(map_ordered(read, range(3 * READERS))) == list(range(3 * READERS))


def test_readers_are_never_far_ahead_of_the_caller() -> None:
    begun: list[int] = []
    for done, _ in enumerate(map_ordered(begun.append, range(200))):
        assert len(begun) <= done + READERS + 1


def test_an_error_of_one_reader_is_raised(path: Path) -> None:
    with pytest.raises(InputError, match="slice 9"):
        list(map_ordered(lambda number: read_slice(str(path), number), [0, 9, 1]))
