from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import CONFIG, alone, curve, job, train_here
from models.clip import Clip
from train.batches import Batches
from train.checkpoint import load_model
from train.checkpoint_files import latest
from train.clip_objective import ClipObjective
from train.patches import kept_patches, number_kept, splitmix64
from train.producer import Cursor
from train.shards import open_data_set

SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [16, 20])
    return folder


def test_the_generator_gives_the_numbers_of_its_reference() -> None:
    numbers = splitmix64(np.array([1234567], np.uint64), 5)
    assert numbers.tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 60), st.data())
def test_each_picture_keeps_so_many_patches_that_its_seed_alone_draws(
    seeds: list[int], num_patches: int, more: st.DataObject
) -> None:
    num_kept = more.draw(st.integers(1, num_patches))
    kept = kept_patches(seeds, num_patches, num_kept)
    assert kept.dtype == np.int64
    assert kept.shape == (len(seeds), num_kept)
    assert (np.diff(kept, axis=1) > 0).all()
    assert kept.min() >= 0
    assert kept.max() < num_patches
    for row, seed in zip(kept, seeds, strict=True):
        assert kept_patches([seed], num_patches, num_kept)[0].tolist() == row.tolist()


def test_all_patches_are_kept_equally_often() -> None:
    kept = kept_patches(range(20_000), 49, 12)
    times = np.bincount(kept.ravel(), minlength=49)
    assert abs(times / 20_000 - 12 / 49).max() < 4 * (12 / 49 * 37 / 49 / 20_000) ** 0.5
    pairs = np.zeros((49, 49))
    for row in kept[:5000]:
        pairs[np.ix_(row, row)] += 1
    apart = pairs[~np.eye(49, dtype=bool)] / 5000
    assert abs(apart - 12 / 49 * 11 / 48).max() < 6 * (0.056 / 5000) ** 0.5


@pytest.mark.parametrize(("dropped", "kept"), [(0.0, 196), (0.5, 98), (0.75, 49), (0.99999, 1)])
def test_a_share_of_the_patches_is_kept_and_at_least_one(dropped: float, kept: int) -> None:
    assert number_kept(196, dropped) == kept


def kept_by_key(data, num_ranks: int, seed: int = 3) -> dict[str, list[int]]:
    """What each picture of two epochs keeps."""
    found = {}
    config = job(data, data, patch_dropout=0.5, seed=seed).config
    for rank in range(num_ranks):
        with Batches(open_data_set((str(data),), ""), config, rank, num_ranks, Cursor()) as batches:
            for _ in range(2 * batches.steps_per_epoch):
                batch = next(batches)
                found |= {
                    f"{batch.epoch} {k}": row.tolist() for k, row in zip(batch.keys, batch.inputs[2], strict=True)
                }
    return found


def test_a_picture_keeps_the_same_patches_on_any_number_of_ranks_and_others_in_the_next_epoch(data) -> None:
    one = kept_by_key(data, 1)
    assert kept_by_key(data, 2) == one
    assert all(len(set(row)) == 2 and set(row) < set(range(4)) for row in one.values())
    both = [key for epoch, key in map(str.split, one) if epoch == "0" and f"1 {key}" in one]
    assert any(one[f"0 {key}"] != one[f"1 {key}"] for key in both)
    other = kept_by_key(data, 1, seed=4)
    assert any(one[name] != other[name] for name in one.keys() & other.keys())


def test_two_ranks_learn_with_fewer_patches_what_one_learns(data, tmp_path) -> None:
    one, two, whole = tmp_path / "one", tmp_path / "two", tmp_path / "whole"
    with alone():
        train_here(job(data, one, ranks=1, patch_dropout=0.5))
        train_here(job(data, whole, ranks=1))
    run_ranks(train_here, 2, job(data, two, patch_dropout=0.5), join_group=False)
    losses = {out.name: [record["loss"] for record in curve(out)] for out in (one, two, whole)}
    assert losses["two"] == pytest.approx(losses["one"], abs=1e-5)
    assert losses["whole"] != pytest.approx(losses["one"], abs=1e-5)
    image = torch.randn(1, 3, 16, 16)
    assert load_model(latest(str(one / "checkpoints"))).encode_image(image).shape == (1, 16)


def test_a_dropped_patch_is_not_run(data) -> None:
    config = job(data, data, patch_dropout=0.75).config
    objective, seen = ClipObjective(config), []
    model = objective.build()
    assert isinstance(model, Clip)
    model.visual.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    model(*objective.prepare(objective.blank()))
    model.encode_image(torch.zeros(1, 3, 16, 16))
    width = CONFIG.model.vision.width
    assert seen == [(1 + 1, width), (1 + 4, width)]
