from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.shards import uid_of, write_exclusions, write_shards
from openwit.errors import ConfigError, InputError
from openwit.shards.samples import TarSample, Unusable
from openwit.shards.tar import BufferPool
from openwit.storage.readahead import TarFiles
from train.data.dataset import DataSet, data_digest, open_data_set
from train.data.lanes import LaneRows
from train.data.order import Lane


def read_rows(data_set: DataSet, lane: Lane, start: int) -> Iterator[TarSample | Unusable]:
    return LaneRows(data_set, lane, TarFiles(1, 0), BufferPool()).read(start)


def test_a_data_set_is_what_its_manifest_says(tmp_path: Path) -> None:
    write_shards(tmp_path, [3, 0, 5])
    data_set = open_data_set((str(tmp_path),))
    assert [(shard.name, shard.num_samples) for shard in data_set.shards] == [("00000.tar", 3), ("00002.tar", 5)]
    assert data_set.num_samples == 8


def test_missing_or_wrong_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        open_data_set((str(tmp_path / "nothing"),))
    write_shards(tmp_path / "empty", [0])
    with pytest.raises(InputError, match="holds no samples"):
        open_data_set((str(tmp_path / "empty"),))
    write_shards(tmp_path / "data", [3])
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"x\.parquet: cannot be read as parquet"):
        open_data_set((str(tmp_path / "data"),), str(tmp_path / "x.parquet"))
    other = write_exclusions(tmp_path / "y.parquet", ["a", "b"])
    assert open_data_set((str(tmp_path / "data"),), other).excluded == {uid_of("a"), uid_of("b")}


def test_a_mixture_has_the_shards_of_all_each_so_often_as_its_passes_say(tmp_path: Path) -> None:
    write_shards(tmp_path / "a", [3, 0, 5])
    write_shards(tmp_path / "b", [0, 4])
    data_set = open_data_set((f"{tmp_path}/a=2", f"{tmp_path}/b=0.5"))
    assert [shard.name for shard in data_set.shards] == [
        f"{tmp_path}/{name}" for name in ("a/00000.tar", "a/00002.tar", "b/00001.tar")
    ]
    assert (data_set.num_samples, data_set.num_rows) == (12, 18)
    for epoch in range(4):
        rows = [row for lane in data_set.lanes(3, 0, epoch) for row in read_rows(data_set, lane, 0)]
        uses = {(row.key, row.copy) for row in rows}  # type: ignore[union-attr]
        assert len(rows) == len(uses) == 18
        assert sum(copy for _, copy in uses) == 8


def test_the_order_of_one_data_set_is_that_of_the_same_folder_with_one_pass(tmp_path: Path) -> None:
    write_shards(tmp_path, [5, 7, 2])
    plain, one = open_data_set((str(tmp_path),)), open_data_set((f"{tmp_path}=1",))
    assert [plain.lanes(3, 0, epoch) for epoch in range(3)] == [one.lanes(3, 0, epoch) for epoch in range(3)]


def test_the_steps_of_an_epoch_count_passes_and_their_part_of_the_exclusions(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [60, 40])
    exclusions = write_exclusions(tmp_path / "x.parquet", [str(n) for n in range(10)])
    steps = {
        passes: open_data_set((f"{tmp_path}/data={passes}",), exclusions).steps_per_epoch(10, 2)
        for passes in (0.5, 1, 2, 2.5)
    }
    assert steps == {0.5: 4, 1: 9, 2: 18, 2.5: 22}


def test_a_part_of_an_excluded_sample_counts_as_one(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [60, 40])
    exclusions = write_exclusions(tmp_path / "x.parquet", ["a", "b", "c"])
    half = open_data_set((f"{tmp_path}/data=0.5",), exclusions)
    assert half.num_rows == 50
    assert half.steps_per_epoch(7, 1) == 6  # of 48 samples: 1.5 of 50 are excluded, so 2


def test_an_image_is_left_out_once_however_many_captions_it_has(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [20])
    uids = [f"00000000{image}-{caption}" for image in range(5) for caption in range(3)]
    data_set = open_data_set((str(tmp_path / "data"),), write_exclusions(tmp_path / "x.parquet", uids))
    assert len(data_set.excluded) == 15
    assert data_set.num_excluded == 5
    assert data_set.steps_per_epoch(5, 1) == 3


def test_entries_that_cannot_be_right_are_told_what_to_write(tmp_path: Path) -> None:
    write_shards(tmp_path, [4])
    with pytest.raises(ConfigError, match=r"none of its 4 samples an epoch; write .*=0\.25 or more"):
        open_data_set((f"{tmp_path}=0.1",))
    with pytest.raises(ConfigError, match="named twice"):
        open_data_set((str(tmp_path), f"{tmp_path}/"))


def test_the_digest_is_that_of_the_samples_and_their_passes_wherever_they_lie(tmp_path: Path) -> None:
    for name, sizes in (("a", [4]), ("b", [5])):
        write_shards(tmp_path / name, sizes)
    a, b = (data_digest((f"{tmp_path}/{name}",)) for name in "ab")
    assert a != b
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert data_digest((f"{tmp_path}/c=1",)) == a
    assert data_digest((f"{tmp_path}/c=2", f"{tmp_path}/b")) == f"{a}=2 {b}"
