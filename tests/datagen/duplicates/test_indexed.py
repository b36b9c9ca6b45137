from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates import eval_sets
from datagen.duplicates.config import OverlapConfig
from datagen.duplicates.indexed import index_sets, merge_sets
from helpers.crawled import InThisProcess, png, scene, write_eval_set
from openwit.errors import InputError
from openwit.executor import ExecutorConfig
from openwit.log import Log
from openwit.run import Run


def run_in(folder: Path) -> Run:
    return Run(str(folder), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess())


def test_a_set_in_many_partitions_is_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval_sets, "PART_PICTURES", 4)
    pictures = {f"k{seed}": png(scene(seed)) for seed in range(10)} | {"bad": b"no picture"}
    config = OverlapConfig(eval_sets=(f"things={write_eval_set(tmp_path / 'e.parquet', pictures)}",))
    with run_in(tmp_path) as run:
        (made,) = index_sets(run, config)
        files = merge_sets(run, config, [made], 0.75)
    assert [part[0].span for part in made.parts] == [(0, 4), (4, 8), (8, 11)]
    assert (made.name, made.pictures, made.rows, len(made.index), made.vectors) == ("things", 10, 11, 3, ())
    (rows,) = [file.url for file in files if file.url.endswith(".arrow")]
    table = pa.ipc.open_file(rows).read_all()
    assert table["eval_key"].to_pylist() == [f"k{seed}" for seed in range(10)]


def test_a_set_without_a_picture_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    path = write_eval_set(tmp_path / "e.parquet", {"bad": b"no picture"})
    with run_in(tmp_path) as run, pytest.raises(InputError, match=r"set things holds no picture .*\(1 rows\)"):
        index_sets(run, OverlapConfig(eval_sets=(f"things={path}",)))


def test_a_set_without_rows_is_an_input_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": pa.array([], pa.string()), "image": pa.array([], pa.binary())}),
                   tmp_path / "e.parquet")  # fmt: skip
    with run_in(tmp_path) as run, pytest.raises(InputError, match=r"holds no picture that can be decoded \(0 rows\)"):
        index_sets(run, OverlapConfig(eval_sets=(f"things={tmp_path}/e.parquet",)))


def test_all_missing_sets_are_named_before_anything_is_indexed(tmp_path: Path) -> None:
    path = write_eval_set(tmp_path / "e.parquet", {"a": png(scene(1))})
    with run_in(tmp_path) as run, pytest.raises(InputError, match="gone"):
        index_sets(run, OverlapConfig(eval_sets=(f"a={path}", f"b={tmp_path}/gone")))
    assert not (tmp_path / "duplicates").exists()
