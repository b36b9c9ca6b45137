# mypy: disable-error-code="arg-type, union-attr, var-annotated"
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.compiler import graphs_alone
from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import CONFIG, alone, batch_loader, curve, job, newest, train_here
from models.clip import Clip
from models.compiling import require_compiler
from models.tokenizer.tokenizer import Tokenizer
from models.tokenizer.training import TokenizerConfig, train_vocabulary
from models.tokenizer.vocabulary import to_bytes
from openwit.errors import ConfigError
from train.checkpoints.checkpoints import load_model
from train.config import PretrainConfig
from train.data.batches import Cursor
from train.data.dataset import open_data_set
from train.data.examples import Example
from train.job import Job
from train.objectives.clip import ClipObjective, kept_patches, number_kept

CAPTIONS = ["a red cat", "a red dog", "a red red cat"] * 3


@pytest.fixture
def merges(tmp_path: Path) -> Path:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(to_bytes(train_vocabulary(CAPTIONS, TokenizerConfig(vocabulary_size=560))))
    return path


def with_vocabulary(size: int, merges: str) -> PretrainConfig:
    text = dataclasses.replace(CONFIG.model.text, vocabulary_size=size)
    return dataclasses.replace(CONFIG, merges=merges, model=dataclasses.replace(CONFIG.model, text=text))


def example(caption: str) -> Example:
    return Example(key="k", pixels=np.zeros((16, 16, 3), np.uint8), caption=caption)


def inputs_of(objective: ClipObjective, *captions: str) -> tuple[torch.Tensor, ...]:
    builder = objective.batch_builder(len(captions))
    for place, caption in enumerate(captions):
        builder.add(place, example(caption))
    return builder.inputs()


def test_a_vocabulary_of_ones_own_makes_the_ids_that_the_network_takes(merges: Path) -> None:
    own = Tokenizer(CONFIG.model.text.context_length, merges)
    objective = ClipObjective(with_vocabulary(own.vocabulary_size, str(merges)))
    image, tokens = inputs_of(objective, "a red cat", "a dog")
    assert tokens.tolist() == own.encode(["a red cat", "a dog"]).tolist()
    assert objective.build()(*objective.prepare((image, tokens)))[1].shape == (2, CONFIG.model.embed_dim)


def test_a_network_of_another_vocabulary_is_refused_with_the_number_to_write(merges: Path) -> None:
    size = Tokenizer(merges_path=merges).vocabulary_size
    objective = ClipObjective(with_vocabulary(49408, str(merges)))
    with pytest.raises(
        ConfigError, match=rf"vocabulary_size=49408: the vocabulary of .*gz has {size} ids; write {size}"
    ):
        inputs_of(objective, "a cat")
    objective = ClipObjective(with_vocabulary(1000, ""))
    with pytest.raises(ConfigError, match="the vocabulary of OpenAI has 49408 ids; write 49408"):
        inputs_of(objective, "a cat")


def test_captions_are_packed_or_padded_as_the_recipe_says() -> None:
    for layout in ("packed", "padded"):
        objective, rows = ClipObjective(dataclasses.replace(CONFIG, text_layout=layout)), []
        model = objective.build()
        model.transformer.register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(len(inputs[0])))
        model(*objective.prepare(inputs_of(objective, "a red cat", "a dog")))
        assert rows == [5 + 4 if layout == "packed" else 2 * CONFIG.model.text.context_length]


def test_ids_stay_where_their_lengths_can_be_read_and_all_else_is_moved() -> None:
    objective = ClipObjective(dataclasses.replace(CONFIG, patch_dropout=0.5))
    inputs = inputs_of(objective, "a cat")
    moved = objective.move(inputs, torch.device("meta"))
    assert [part.device.type for part in moved] == ["meta", "cpu", "meta"]
    assert moved[1] is inputs[1]


def train_by_graphs(made: Job) -> None:
    with graphs_alone():
        train_here(made)


@pytest.mark.slow
def test_a_compiled_training_has_the_plain_ones_losses_on_any_number_of_ranks(tmp_path: Path) -> None:
    try:
        require_compiler()
    except ConfigError as error:
        pytest.skip(str(error))
    write_shards(tmp_path / "data", [16])
    plain, one, two = (tmp_path / name for name in ("plain", "one", "two"))
    changes = {"patch_dropout": 0.5, "duration": "4 steps", "checkpoint_blocks": "true"}
    with alone():
        train_here(job(tmp_path / "data", plain, ranks=1, **changes))
        train_here(job(tmp_path / "data", one, ranks=1, compile="true", **changes))
    run_ranks(train_by_graphs, 2, job(tmp_path / "data", two, compile="true", **changes), join_group=False)
    expected = [record["loss"] for record in curve(plain)]
    assert len(expected) == 4
    for out in (one, two):
        assert [record["loss"] for record in curve(out)] == pytest.approx(expected, abs=1e-5)


SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [16, 20])
    return folder


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 60), st.data())
def test_each_image_keeps_so_many_patches_that_its_seed_alone_draws(
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


def kept_by_key(data: Path, num_ranks: int, seed: int = 3) -> dict[str, list[int]]:
    """What each image of two epochs keeps."""
    found = {}
    config = job(data, data, patch_dropout=0.5, seed=seed).config
    for rank in range(num_ranks):
        with batch_loader(open_data_set((str(data),), ""), config, rank, num_ranks, Cursor()) as batches:
            for _ in range(2 * batches.steps_per_epoch):
                batch = next(batches)
                found |= {
                    f"{batch.epoch} {k}": row.tolist() for k, row in zip(batch.keys, batch.inputs[2], strict=True)
                }
    return found


def test_an_image_keeps_the_same_patches_on_any_number_of_ranks_and_others_in_the_next_epoch(data: Path) -> None:
    one = kept_by_key(data, 1)
    assert kept_by_key(data, 2) == one
    assert all(len(set(row)) == 2 and set(row) < set(range(4)) for row in one.values())
    both = [key for epoch, key in map(str.split, one) if epoch == "0" and f"1 {key}" in one]
    assert any(one[f"0 {key}"] != one[f"1 {key}"] for key in both)
    other = kept_by_key(data, 1, seed=4)
    assert any(one[name] != other[name] for name in one.keys() & other.keys())


def test_two_ranks_learn_with_fewer_patches_what_one_learns(data: Path, tmp_path: Path) -> None:
    one, two, whole = tmp_path / "one", tmp_path / "two", tmp_path / "whole"
    with alone():
        train_here(job(data, one, ranks=1, patch_dropout=0.5))
        train_here(job(data, whole, ranks=1))
    run_ranks(train_here, 2, job(data, two, patch_dropout=0.5), join_group=False)
    losses = {out.name: [record["loss"] for record in curve(out)] for out in (one, two, whole)}
    assert losses["two"] == pytest.approx(losses["one"], abs=1e-5)
    assert losses["whole"] != pytest.approx(losses["one"], abs=1e-5)
    image = torch.randn(1, 3, 16, 16)
    assert load_model(newest(str(one / "checkpoints"))).encode_image(image).shape == (1, 16)


def test_a_dropped_patch_is_not_run(data: Path) -> None:
    config = job(data, data, patch_dropout=0.75).config
    objective, seen = ClipObjective(config), []
    model = objective.build()
    assert isinstance(model, Clip)
    model.visual.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    model(*objective.prepare(objective.blank()))
    model.encode_image(torch.zeros(1, 3, 16, 16))
    width = CONFIG.model.vision.width
    assert seen == [(1 + 1, width), (1 + 4, width)]
