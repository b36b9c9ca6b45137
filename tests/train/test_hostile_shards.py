"""Shards as the world leaves them, through the whole stream and the loop: each harm is named and counted, or ends the
training with a clear error. None hangs: every test has a time-out, and a hang in it is a failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import s3_server
from helpers.ranks import RankError, run_ranks
from helpers.shards import rewritten, write_shards
from helpers.training import CONFIG, alone, batch_loader, curve, job, train_here
from openwit import storage
from openwit.config import override
from openwit.errors import ConfigError, InputError, WorkError
from train.data.batches import Cursor
from train.data.dataset import open_data_set

pytestmark = pytest.mark.timeout(100)

SIZES = [16, 16, 16, 16]
ONE_LANE = {"stream.num_lanes": "1", "ranks": "1"}


def cut(folder: Path) -> None:
    path = folder / "00001.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder: Path) -> None:
    (folder / "00001.tar").write_bytes(b"")


def garbage(folder: Path) -> None:
    (folder / "00001.tar").write_bytes(bytes(range(256)) * 999)


def vanished(folder: Path) -> None:
    (folder / "00001.tar").unlink()


def a_folder(folder: Path) -> None:
    vanished(folder)
    (folder / "00001.tar").mkdir()


def fewer(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        for name in [name for name in members if name[:9] > "000010009"]:
            del members[name]


def more(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        members |= {name.replace("00001", "00009"): content for name, content in members.items()}


def without_text(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        del members["000010003.txt"], members["000010003.json"]


def empty_caption(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        members["000010003.json"] = json.dumps({"captions": [{"uid": "u", "caption": "  "}]}).encode()
        members["000010003.txt"] = b" \n"


def broken_text(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        members["000010003.json"] = b'{"captions": ['
        del members["000010003.txt"]  # which would do instead


def broken_image(folder: Path) -> None:
    with rewritten(folder / "00001.tar") as members:
        members["000010003.jpg"] = members["000010003.jpg"][:300]


def huge_member(folder: Path) -> None:
    path = folder / "00001.tar"
    path.write_bytes(path.read_bytes()[:124] + b"77777777777\0" + path.read_bytes()[136:])


# The harm, the reason it is counted by, how many samples it costs an epoch, and what names it.
HARMS = [
    (cut, "tar", range(1, 17), "00001.tar: ends at byte"),
    (empty, "tar", [16], "00001.tar: ends at byte 0"),
    (garbage, "tar", [16], "00001.tar: no tar header at byte 0"),
    (vanished, "tar", [16], "00001.tar: no such file"),
    (a_folder, "tar", [16], "00001.tar: cannot be read"),
    (fewer, "tar", [6], "00001.tar: has fewer than the 16 samples of the manifest"),
    (huge_member, "tar", [16], "00001.tar: no tar header at byte 0"),
    (more, "", [0], ""),
    (without_text, "text", [1], "000010003: it has no caption"),
    (empty_caption, "text", [1], "000010003: it has no caption"),
    (broken_text, "text", [1], "000010003: it has no caption"),
    (broken_image, "image", [1], "000010003: not a readable image"),
]


@pytest.mark.parametrize(("harm", "reason", "costs", "named"), HARMS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_harm_costs_its_samples_only_and_is_counted_and_named(
    tmp_path: Path, harm: Any, reason: Any, costs: Any, named: Any
) -> None:
    write_shards(tmp_path, SIZES)
    harm(tmp_path)
    with batch_loader(open_data_set((str(tmp_path),)), override(CONFIG, ONE_LANE), 0, 1, Cursor()) as batches:
        assert batches.steps_per_epoch == 8
        epoch = [next(batches) for _ in range(8)]
    keys = {key for batch in epoch for key in batch.keys}
    skipped = epoch[-1].cursor.lanes[0].skipped
    assert 64 - len(keys) in costs
    assert skipped.get(reason, 0) >= 64 - len(keys)
    assert set(skipped) == ({reason, "repeated"} if reason else set())
    notices = {notice for batch in epoch for notice in batch.notices}
    assert all(named in notice for notice in notices)
    assert bool(notices) == bool(reason)
    assert not {key for key in keys if key.startswith("00009")}


def test_the_metrics_of_two_ranks_name_all_harms_and_training_goes_on(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [*SIZES, 16, 16])
    broken_image(tmp_path / "data")
    cut(tmp_path / "data")
    (tmp_path / "data" / "00002.tar").unlink()
    (tmp_path / "data" / "00003.tar").write_bytes(b"")
    changes = {"stream__num_lanes": 2, "duration": "16 steps"}
    run_ranks(train_here, 2, job(tmp_path / "data", tmp_path / "out", **changes), join_group=False, timeout_s=90)
    records = curve(tmp_path / "out")
    assert [record["step"] for record in records] == list(range(1, 17))
    assert {"tar", "image", "repeated"} <= set(records[-1]["skipped"])
    named = {name.partition(":")[0] for record in records for name in record["damaged"]}
    assert named == {"000010003", "00001.tar", "00002.tar", "00003.tar"}


@pytest.mark.parametrize("while_reading", [False, True])
def test_a_tar_that_vanishes_later_is_skipped_from_then_on(tmp_path: Path, while_reading: bool) -> None:
    write_shards(tmp_path, SIZES)
    few = override(CONFIG, ONE_LANE | {"stream.shuffle_window": "4", "stream.read_ahead": "1"})
    with batch_loader(open_data_set((str(tmp_path),)), few, 0, 1, Cursor()) as batches:
        made = [next(batches) for _ in range(1 if while_reading else 8)]
        for name in ("00000", "00001", "00002"):
            (tmp_path / f"{name}.tar").unlink()
        made += [next(batches) for _ in range(24 - len(made))]
    last = {key for batch in made if batch.epoch == 2 for key in batch.keys}
    assert last == {f"00003{n:04d}" for n in range(16)}
    assert made[-1].cursor.lanes[0].skipped["tar"] >= 48
    named = {notice.partition(":")[0] for batch in made for notice in batch.notices}
    assert named == {"00000.tar", "00001.tar", "00002.tar"}


def test_a_tar_that_a_store_lost_is_skipped_and_named_by_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, SIZES)
    server = s3_server.running()
    server.use(monkeypatch)
    bucket = server.new_bucket()
    for name in ("manifest.json", "00000.tar", "00002.tar", "00003.tar"):
        storage.write_bytes(f"{bucket}/{name}", (tmp_path / name).read_bytes())
    with batch_loader(open_data_set((bucket,)), override(CONFIG, ONE_LANE), 0, 1, Cursor()) as batches:
        epoch = [next(batches) for _ in range(8)]
    assert len({key for batch in epoch for key in batch.keys}) == 48
    assert epoch[-1].cursor.lanes[0].skipped["tar"] >= 16
    notices = {notice for batch in epoch for notice in batch.notices}
    assert notices == {f"00001.tar: {bucket}/00001.tar: no such file"}


def test_ranks_that_share_one_tar_learn_together(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [40])
    one_tar = job(tmp_path / "data", tmp_path / "out", duration="7 steps", stream__num_lanes=8)
    run_ranks(train_here, 2, one_tar, join_group=False, timeout_s=90)
    assert [record["step"] for record in curve(tmp_path / "out")] == list(range(1, 8))
    assert not any(record["skipped"] for record in curve(tmp_path / "out"))


@pytest.mark.parametrize("num_ranks", [2, 8])
def test_with_fewer_shards_than_ranks_each_rank_gets_its_part_of_every_batch(tmp_path: Path, num_ranks: int) -> None:
    write_shards(tmp_path, [40])
    keys = set()
    for rank in range(num_ranks):
        config = override(CONFIG, {"stream.num_lanes": "8"})
        with batch_loader(open_data_set((str(tmp_path),)), config, rank, num_ranks, Cursor()) as batches:
            made = [next(batches).keys for _ in range(5)]
        assert {len(part) for part in made} == {8 // num_ranks}
        keys |= {key for part in made for key in part}
    assert len(keys) == 40


def test_a_data_set_smaller_than_a_batch_ends_every_rank_with_what_to_write(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [7])
    with pytest.raises(RankError, match=r"batch_pairs=8: an epoch has 7 samples .* write 4 or less") as caught:
        run_ranks(train_here, 2, job(tmp_path / "data", tmp_path / "out"), join_group=False, timeout_s=90)
    assert "ConfigError" in str(caught.value)


def test_when_all_tars_of_one_rank_are_gone_no_rank_waits_for_it(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", SIZES)
    for name in ("00000", "00001", "00002"):
        (tmp_path / "data" / f"{name}.tar").unlink()
    with pytest.raises(RankError, match=r"none of the 16 samples of lane . can be used .*no such file"):
        run_ranks(train_here, 2, job(tmp_path / "data", tmp_path / "out"), join_group=False, timeout_s=90)


def test_data_that_are_gone_before_the_start_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", SIZES)
    shutil.rmtree(tmp_path / "data")
    with alone(), pytest.raises(InputError, match=r"data/manifest\.json: no such file"):
        train_here(job(tmp_path / "data", tmp_path / "out", ranks=1))


def test_a_lane_of_nothing_but_damage_ends_with_the_tar_and_a_smaller_set_with_advice(tmp_path: Path) -> None:
    write_shards(tmp_path, [8, 8])
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes(b"")
    with (
        batch_loader(open_data_set((str(tmp_path),)), CONFIG, 0, 1, Cursor()) as batches,
        pytest.raises(WorkError, match=r"none of the 4 samples of lane . can be used \(0000.\.tar: ends at byte 0"),
    ):
        next(batches)
    with pytest.raises(ConfigError, match="need more data"):
        batch_loader(
            open_data_set((str(tmp_path),)),
            override(CONFIG, {"stream.num_lanes": "32", "batch_pairs": "32"}),
            0,
            1,
            Cursor(),
        )
