from __future__ import annotations

import msgspec
import pytest
import torch

from helpers.shards import rewritten, write_exclusions, write_shards
from helpers.training import CONFIG
from openwit.config import override
from openwit.errors import ConfigError, WorkError
from train.batches import Batches, Cursor
from train.shards import open_data_set

NUM_STEPS = 12
START = Cursor()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [9, 14, 12])
    with rewritten(folder / "00001.tar") as members:
        members["000010005.jpg"] = b"broken"
        del members["000010007.txt"], members["000010007.json"]
    return folder


def parts(data, num_ranks, start=START, num_steps=NUM_STEPS, exclusions=""):
    """The batches of each rank."""
    data_set = open_data_set((str(data),), exclusions)
    made = []
    for rank in range(num_ranks):
        with Batches(data_set, CONFIG, rank, num_ranks, start) as batches:
            made.append([next(batches) for _ in range(num_steps)])
    return made


def by_key(ranks, step):
    return {
        key: (batch.inputs[0][i].numpy().tobytes(), batch.inputs[1][i].tolist())
        for batch in (rank[step] for rank in ranks)
        for i, key in enumerate(batch.keys)
    }


def whole_cursor(ranks, step):
    lanes = {lane: at for rank in ranks for lane, at in rank[step].cursor.lanes.items()}
    return msgspec.json.decode(msgspec.json.encode(Cursor(ranks[0][step].cursor.step, lanes)), type=Cursor)


def test_a_batch_has_the_shapes_of_the_config_and_says_where_it_stands(data):
    ((batch, *_),) = parts(data, 1, num_steps=1)
    assert batch.inputs[0].shape == (8, 3, 16, 16)
    assert batch.inputs[0].dtype == torch.uint8
    assert batch.inputs[1].shape == (8, 16)
    assert batch.cursor.step == 1
    assert sorted(batch.cursor.lanes) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_any_number_of_ranks_sees_the_same_global_batches(data, num_ranks):
    one, many = parts(data, 1), parts(data, num_ranks)
    for step in range(NUM_STEPS):
        assert by_key(one, step) == by_key(many, step)
        assert whole_cursor(one, step) == whole_cursor(many, step)


def test_a_sample_comes_at_most_once_an_epoch(tmp_path):
    write_shards(tmp_path, [9, 14, 12])
    (batches,) = parts(tmp_path, 1)
    seen: dict[int, list[str]] = {}
    for batch in batches:
        seen.setdefault(batch.epoch, []).extend(batch.keys)
    assert len(seen) == 3
    for keys in seen.values():
        assert len(keys) == len(set(keys))


def test_it_goes_on_from_any_step_on_another_number_of_ranks(data):
    whole = parts(data, 2)
    for done in (3, 4, 9):
        rest = parts(data, 4, whole_cursor(whole, done - 1), NUM_STEPS - done)
        for step in range(NUM_STEPS - done):
            assert by_key(rest, step) == by_key(whole, done + step)


def test_damage_is_named_and_counted_and_exclusions_hold(data, tmp_path):
    excluded = {f"00000000{n}" for n in range(3)}
    uids = [f"{key}-{c}" for key in excluded for c in range(3)]
    (batches,) = parts(data, 1, exclusions=write_exclusions(tmp_path / "x.parquet", uids))
    assert not excluded & {key for batch in batches for key in batch.keys}
    notices = {notice.split(":")[0] for batch in batches for notice in batch.notices}
    assert notices == {"000010005", "000010007"}
    reasons = {reason for at in batches[-1].cursor.lanes.values() for reason in at.skipped}
    assert {"excluded", "image", "text"} <= reasons


def test_a_data_set_smaller_than_a_batch_is_refused(tmp_path):
    write_shards(tmp_path, [7])
    with pytest.raises(ConfigError, match="write 4 or less"):
        parts(tmp_path, 1)


def test_what_goes_wrong_in_the_reading_thread_is_raised_where_the_batch_is_wanted(tmp_path):
    write_shards(tmp_path, [8, 8])
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WorkError, match="none of the 4 samples"):
        parts(tmp_path, 1)


def test_more_threads_or_a_cache_change_nothing(data):
    data_set = open_data_set((str(data),))
    changes = {"stream.threads": "1", "stream.read_ahead": "1", "stream.cache_decoded_mb": "5"}
    with Batches(data_set, override(CONFIG, changes), 0, 1, Cursor()) as batches:
        made = [[next(batches) for _ in range(NUM_STEPS)]]
    expected = parts(data, 1)
    assert all(by_key(made, step) == by_key(expected, step) for step in range(NUM_STEPS))
