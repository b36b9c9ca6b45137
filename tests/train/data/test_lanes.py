from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.shards import jpeg, rewritten, write_exclusions, write_shards
from openwit.errors import WorkError
from openwit.shards.samples import TarSample, Unusable, scan_tar
from openwit.shards.tar import SIZES, BufferPool
from openwit.storage.readahead import TarFiles
from train.data.dataset import DataSet, open_data_set
from train.data.examples import ClipExampleBuilder, DecodedCache
from train.data.lanes import LaneCursor, LaneReader, LaneRows
from train.data.order import Lane, Segment

START = LaneCursor()


def reader(
    folder: Path, at: Any = START, exclusions: Any = "", num_lanes: int = 1, lane: Any = 0, epoch: int = 0
) -> LaneReader:  # type: ignore[type-arg]
    data_set = open_data_set((str(folder),), exclusions)
    builder = ClipExampleBuilder(0, 20, 16, data_set.excluded, DecodedCache(0))
    rows = LaneRows(data_set, data_set.lanes(num_lanes, 0, epoch)[lane], TarFiles(1, 0), BufferPool())
    return LaneReader(rows, builder, 4, (epoch, lane), at)


def keys(lane: Any, number: int) -> list[str]:
    return [example.key for example in islice(lane, number)]


def test_a_lane_gives_each_sample_once_in_a_shuffled_order_that_epochs_change(tmp_path: Path) -> None:
    write_shards(tmp_path, [6, 7])
    orders = [keys(reader(tmp_path, epoch=epoch), 13) for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) != orders[0]
    assert len(set(orders[0])) == 13


def test_it_goes_on_from_its_cursor_anywhere_as_if_never_stopped(tmp_path: Path) -> None:
    write_shards(tmp_path, [6, 7])
    with rewritten(tmp_path / "00001.tar") as members:
        members["000010003.jpg"] = b"broken"
    whole = reader(tmp_path)
    expected, cursors = [], [whole.cursor]
    for _ in range(30):
        expected += keys(whole, 1)
        cursors.append(whole.cursor)
    for done in range(30):
        again = reader(tmp_path, cursors[done])
        assert keys(again, 30 - done) == expected[done:]
        assert again.cursor == cursors[30]


def test_it_never_holds_more_than_a_window_and_reads_as_evenly_as_it_gives(tmp_path: Path) -> None:
    write_shards(tmp_path, [6, 7])
    for at in (0, 2, 5):
        lane = reader(tmp_path, LaneCursor(at))
        read = []
        for _ in range(26):
            next(lane)
            assert len(lane._held) <= 4
            read.append(lane._next_row)
        steady = [after - before for before, after in pairwise(read) if after > before]
        assert max(steady) <= 4
        assert steady.count(1) >= 2 * 8 - 6


def test_the_memory_of_used_samples_is_used_again_and_no_image_suffers(tmp_path: Path) -> None:
    write_shards(tmp_path, [25])
    noise = np.random.default_rng(0)
    with rewritten(tmp_path / "00000.tar") as members:
        for name in [name for name in members if name.endswith("jpg")]:
            members[name] = jpeg(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            assert len(members[name]) in SIZES
    lane = reader(tmp_path)
    with (tmp_path / "00000.tar").open("rb") as file:
        plain = {sample.key: lane.builder.build(sample, 0) for sample in scan_tar(file)}  # type: ignore[arg-type]
    for example in islice(lane, 60):
        assert np.array_equal(example.pixels, plain[example.key].pixels)  # type: ignore[union-attr]
    assert 1 <= sum(map(len, lane.rows.pool._free.values())) <= 4 + 1


def test_what_cannot_be_used_is_replaced_counted_and_named_once(tmp_path: Path) -> None:
    write_shards(tmp_path, [6, 4])
    with rewritten(tmp_path / "00000.tar") as members:
        members["000000002.jpg"] = b"broken"
    (tmp_path / "00001.tar").write_bytes(b"")
    exclusions = write_exclusions(tmp_path / "x.parquet", ["000000000-0"])
    lane = reader(tmp_path, exclusions=exclusions)
    taken = keys(lane, 4)
    assert set(taken) == {f"00000000{n}" for n in (1, 3, 4, 5)}
    assert next(lane).key in taken
    assert lane.cursor.skipped["repeated"] == 1
    assert lane.cursor.skipped["tar"] >= 4
    notices = lane.take_notices()
    assert sum("not a readable image" in notice for notice in notices) <= 2
    assert not [notice for notice in notices if "000000000:" in notice]
    assert lane.take_notices() == []


def test_a_lane_without_any_usable_sample_ends_the_run_instead_of_hanging(tmp_path: Path) -> None:
    write_shards(tmp_path, [3])
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(WorkError, match=r"none of the 3 samples.*00000\.tar.*no such file"):
        next(reader(tmp_path))


def read_rows(data_set: DataSet, lane: Lane, start: int) -> Iterator[TarSample | Unusable]:
    return LaneRows(data_set, lane, TarFiles(1, 0), BufferPool()).read(start)


def test_the_rows_of_all_lanes_are_all_samples_from_any_start(tmp_path: Path) -> None:
    write_shards(tmp_path, [5, 7, 2])
    data_set = open_data_set((str(tmp_path),))
    lanes = data_set.lanes(4, 0, 0)
    keys = [[row.key for row in read_rows(data_set, lane, 0)] for lane in lanes]
    all_keys = [f"{shard:05d}{place:04d}" for shard, size in enumerate([5, 7, 2]) for place in range(size)]
    assert sorted(key for lane in keys for key in lane) == all_keys
    for lane, expected in zip(lanes, keys, strict=True):
        for start in range(len(expected) + 1):
            assert [row.key for row in read_rows(data_set, lane, start)] == expected[start:]


@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "short", "garbage", "folder"])
def test_a_damaged_tar_still_gives_every_row_those_that_are_lost_named(tmp_path: Path, harm: str) -> None:
    write_shards(tmp_path, [4])
    path = tmp_path / "00000.tar"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "garbage":
        path.write_bytes(bytes(range(256)) * 99)
    elif harm == "gone":
        path.unlink()
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        with rewritten(path) as members:
            for name in [name for name in members if name.startswith("000000003")]:
                del members[name]
    rows = list(read_rows(open_data_set((str(tmp_path),)), (Segment(0, 0, 4),), 0))
    lost = [row for row in rows if isinstance(row, Unusable)]
    assert len(rows) == 4
    assert {(row.key, row.reason) for row in lost} == {("00000.tar", "tar")}
    assert len(lost) == {"empty": 4, "gone": 4, "garbage": 4, "folder": 4, "short": 1}.get(harm, len(lost))
    assert all(isinstance(row, TarSample) for row in rows[: 4 - len(lost)])


def test_a_tar_with_more_samples_than_its_manifest_gives_those_of_the_manifest(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [4])
    write_shards(tmp_path / "more", [6])
    shutil.copy(tmp_path / "more" / "00000.tar", tmp_path / "data")
    rows = list(read_rows(open_data_set((str(tmp_path / "data"),)), (Segment(0, 0, 4),), 0))
    assert [row.key for row in rows] == [f"00000000{n}" for n in range(4)]
