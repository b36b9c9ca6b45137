from __future__ import annotations

import pytest

from openwit.errors import ConfigError
from train.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "steps"),
    [("400 steps", 400), ("12.8e9 samples", 390625), ("3 epochs", 36_621), ("0.5 epochs", 6104), ("1 samples", 1)],
)
def test_each_unit_becomes_the_nearest_number_of_steps(text: str, steps: int) -> None:
    assert parse_duration(text).steps(batch_pairs=32768, steps_per_epoch=12207) == steps


@pytest.mark.parametrize("text", ["", "400", "steps", "4 weeks", "-1 steps", "0 epochs", "1.5 steps", "1e999 steps"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"duration="):
        parse_duration(text)
