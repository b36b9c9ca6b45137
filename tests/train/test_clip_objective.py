from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from helpers.training import CONFIG
from models.bpe.config import TokenizerConfig
from models.bpe.training import train_vocabulary
from models.bpe.vocabulary import to_bytes
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


def test_a_vocabulary_of_ones_own_makes_the_ids_that_the_network_takes(merges: Path) -> None:
    own = Tokenizer(CONFIG.model.text.context_length, merges)
    objective = ClipObjective(with_vocabulary(own.vocabulary_size, str(merges)))
    image, tokens = objective.collate([example("a red cat"), example("a dog")])
    assert tokens.tolist() == own.encode(["a red cat", "a dog"]).tolist()
    assert objective.build()(*objective.prepare((image, tokens)))[1].shape == (2, CONFIG.model.embed_dim)


def test_a_network_of_another_vocabulary_is_refused_with_the_number_to_write(merges: Path) -> None:
    size = Tokenizer(merges_path=merges).vocabulary_size
    objective = ClipObjective(with_vocabulary(49408, str(merges)))
    with pytest.raises(
        ConfigError, match=rf"vocabulary_size=49408: the vocabulary of .*gz has {size} ids; write {size}"
    ):
        objective.collate([example("a cat")])
    objective = ClipObjective(with_vocabulary(1000, ""))
    with pytest.raises(ConfigError, match="the vocabulary of OpenAI has 49408 ids; write 49408"):
        objective.collate([example("a cat")])
