from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import CONFIG, alone, curve, job, train_here
from models.bpe.config import TokenizerConfig
from models.bpe.training import train_vocabulary
from models.bpe.vocabulary import to_bytes
from models.compiling import require_compiler
from models.tokenizer import Tokenizer
from openwit.errors import ConfigError
from train.clip_objective import ClipObjective
from train.config import PretrainConfig
from train.examples import Example

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
    sheet = objective.sheet(len(captions))
    for place, caption in enumerate(captions):
        sheet.put(place, example(caption))
    return sheet.inputs()


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
    run_ranks(train_here, 2, job(tmp_path / "data", two, compile="true", **changes), join_group=False, timeout_s=230)
    expected = [record["loss"] for record in curve(plain)]
    assert len(expected) == 4
    for out in (one, two):
        assert [record["loss"] for record in curve(out)] == pytest.approx(expected, abs=1e-5)
