from __future__ import annotations

import pytest

from helpers.shards import rewritten, write_exclusions, write_shards
from openwit.errors import InputError
from train.order import Segment, deal
from train.shards import open_data_set, read_rows
from train.tars import TarSample, Unusable


def test_a_data_set_is_what_its_manifest_says(tmp_path):
    write_shards(tmp_path, [3, 0, 5])
    data_set = open_data_set((str(tmp_path),))
    assert [(shard.name, shard.num_samples) for shard in data_set.shards] == [("00000.tar", 3), ("00002.tar", 5)]
    assert data_set.num_samples == 8


def test_missing_or_wrong_inputs_are_named(tmp_path):
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
    assert open_data_set((str(tmp_path / "data"),), other).excluded == {"a", "b"}


def test_the_rows_of_all_lanes_are_all_samples_from_any_start(tmp_path):
    write_shards(tmp_path, [5, 7, 2])
    data_set = open_data_set((str(tmp_path),))
    lanes = deal([5, 7, 2], 4, 0, 0)
    keys = [[row.key for row in read_rows(data_set, lane, 0)] for lane in lanes]
    all_keys = [f"{shard:05d}{place:04d}" for shard, size in enumerate([5, 7, 2]) for place in range(size)]
    assert sorted(key for lane in keys for key in lane) == all_keys
    for lane, expected in zip(lanes, keys, strict=True):
        for start in range(len(expected) + 1):
            assert [row.key for row in read_rows(data_set, lane, start)] == expected[start:]


@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "short"])
def test_a_damaged_tar_still_gives_every_row_those_that_are_lost_named(tmp_path, harm):
    write_shards(tmp_path, [4])
    path = tmp_path / "00000.tar"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "gone":
        path.unlink()
    else:
        with rewritten(path) as members:
            for name in [name for name in members if name.startswith("000000003")]:
                del members[name]
    rows = list(read_rows(open_data_set((str(tmp_path),)), (Segment(0, 0, 4),), 0))
    lost = [row for row in rows if isinstance(row, Unusable)]
    assert len(rows) == 4
    assert {(row.key, row.reason) for row in lost} == {("00000.tar", "tar")}
    assert len(lost) == {"empty": 4, "gone": 4, "short": 1}.get(harm, len(lost))
    assert all(isinstance(row, TarSample) for row in rows[: 4 - len(lost)])
