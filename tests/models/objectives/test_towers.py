from __future__ import annotations

import pytest
import torch

from helpers.small_towers import rows, small_tower
from models.objectives.towers import at_least_float32, between_marks, check_names, ends, freeze


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
