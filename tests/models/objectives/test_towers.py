from __future__ import annotations

import pytest
import torch

from helpers.small_towers import rows, small_tower
from models.objectives.towers import (
    BagOfWordsConfig,
    CaptionConfig,
    at_least_float32,
    between_marks,
    check_names,
    ends,
    freeze,
)
from openwit.errors import ConfigError


def test_the_text_is_what_stands_between_the_marks_also_where_its_ids_are_zero() -> None:
    tokens = rows([0, 0, 5], [], [7], length=6)
    assert ends(tokens).tolist() == [4, 1, 2]
    assert between_marks(tokens).int().tolist() == [[0, 1, 1, 1, 0, 0], [0] * 6, [0, 1, 0, 0, 0, 0]]


def test_a_class_without_a_name_is_refused_by_its_number() -> None:
    check_names(rows([1], [0]))
    with pytest.raises(ValueError, match="class name 1 has no tokens"):
        check_names(rows([1], []))


def test_only_what_is_named_is_frozen() -> None:
    tower = small_tower("vit")
    freeze(tower, ("proj", "ln_post"))
    frozen = {name for name, parameter in tower.named_parameters() if not parameter.requires_grad}
    assert frozen == {"proj", "ln_post.weight", "ln_post.bias"}


def test_half_precision_is_raised_and_double_is_kept() -> None:
    assert at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("heads", 7, "caption.heads=7: must divide the width 512; write 4"),
        ("layers", 0, "caption.layers=0: must be at least 1"),
        ("context_length", 2, "caption.context_length=2: .* write 3 or more"),
        ("vocabulary_size", 2, "caption.vocabulary_size=2: .* write the tokenizer's"),
    ],
)
def test_a_decoder_that_cannot_be_built_is_refused(field: str, value: int, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        CaptionConfig(**{field: value})  # type: ignore[arg-type]


def test_a_bag_needs_a_vocabulary_larger_than_a_caption() -> None:
    with pytest.raises(ConfigError, match="must be more than 0 and fewer than the 10 tokens"):
        BagOfWordsConfig(vocabulary_size=10, expected_tokens=10.0)
    with pytest.raises(ConfigError, match=r"expected_tokens=0\.0: must be more than 0"):
        BagOfWordsConfig(expected_tokens=0.0)
    with pytest.raises(ConfigError, match="vocabulary_size=2"):
        BagOfWordsConfig(vocabulary_size=2, expected_tokens=1.0)
