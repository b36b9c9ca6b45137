from __future__ import annotations

from typing import Any

import pytest

from helpers.training import CONFIG
from openwit.config import describe, from_json, override, to_json
from openwit.errors import ConfigError
from train.config import DetectorTrainingConfig, PretrainConfig, parse_duration


def test_the_defaults_are_the_papers_and_valid() -> None:
    config = PretrainConfig()
    assert config.batch_pairs == 32768
    assert config.batch_pairs * config.num_steps(400_000_000 // 32768) == pytest.approx(12.8e9, rel=1e-4)


def test_every_field_has_help() -> None:
    assert not [entry.path for entry in describe(PretrainConfig()) if not entry.help]


def test_a_config_survives_json() -> None:
    assert from_json(PretrainConfig, to_json(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"batch_pairs": "10"}, "multiple of stream.num_lanes=4; write 8"),
        ({"ranks": "3"}, "write 2"),
        ({"stream.resize_px": "15"}, "write 16"),
        ({"warmup_steps": "7"}, "more than the 6 steps"),
        ({"learning_rate": "0"}, "more than 0"),
        ({"beta1": "1"}, "less than 1"),
        ({"keep_last": "0"}, "at least 1"),
        ({"stream.threads": "0"}, "at least 1"),
        ({"stream.cache_decoded_mb": "-1"}, "0 .no cache. or more"),
        ({"device": "tpu"}, "one of cuda, cpu"),
        ({"stream.decoder": "gpu"}, "no GPU decodes with device=cpu; write stream.decoder=cpu"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_to_write(change: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        override(CONFIG, change)


def test_the_detectors_images_are_decoded_by_the_cpu_which_makes_their_copies() -> None:
    with pytest.raises(ConfigError, match="copies of images are made by the CPU; write cpu"):
        override(DetectorTrainingConfig(), {"stream.decoder": "gpu"})


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
