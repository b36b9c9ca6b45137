from __future__ import annotations

import pytest

from datagen.duplicates.config import CalibrateConfig, OverlapConfig, split_eval_set
from openwit.config import describe, override
from openwit.errors import ConfigError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval_sets": "things"}, "expected name=url"),
        ({"eval_sets": "../up=x.parquet"}, "expected name=url"),
        ({"eval_sets": "a=x.parquet,a=y.parquet"}, "names must differ"),
        ({"crop": "0.3"}, "crop=0.3: must be"),
        ({"max_distance256": "0.5"}, "below 0.5"),
        ({"gallery_pairs": "-1"}, "must not be negative"),
        ({"min_score": "0"}, "above 0 and at most 1"),
        ({"device": "tpu"}, "expected auto, cpu or cuda"),
        ({"exact_vectors": "0"}, "must be at least 1"),
        ({"eval_sets": "a=x", "thresholds": "a=0.8"}, "expected set:stage=value"),
        ({"eval_sets": "a=x", "thresholds": "b:detector=0.8"}, "no evaluation set is called b; there are a"),
        ({"eval_sets": "a=x", "thresholds": "a:detector=1.8"}, "above 0 and at most 1"),
        ({"eval_sets": "a=x", "thresholds": "a:phash=0.5"}, "below 0.5"),
        ({"eval_sets": "a=x", "thresholds": "a:phash=0.1.2"}, "expected set:stage=value"),
    ],
)
def test_what_cannot_be_right_is_a_config_error(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(OverlapConfig(), fields)


def test_a_set_is_split_at_the_first_equals_sign() -> None:
    assert split_eval_set("imagenet-v2=s3://bucket/key=1.parquet") == ("imagenet-v2", "s3://bucket/key=1.parquet")


def test_a_sets_own_threshold_comes_before_a_calibrated_one_and_that_before_the_general_one() -> None:
    config = OverlapConfig(eval_sets=("a=x", "b=y", "c=z"), thresholds=("a:detector=0.8",), min_score=0.6)
    calibrated = {"a": {"detector": 0.7, "phash": 0.05}, "b": {"detector": 0.7}}
    limits = {entry.name: (entry.min_score, entry.max_distance256) for entry in config.limits(calibrated)}
    assert limits == {"a": (0.8, 0.05), "b": (0.7, 0.12), "c": (0.6, 0.12)}


@pytest.mark.parametrize("fields", [{"images": "5"}, {"precision": "1"}, {"prevalence": "0"}])
def test_a_calibration_that_cannot_be_is_a_config_error(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must"):
        override(CalibrateConfig(), fields)


def test_every_field_has_help() -> None:
    for config in (OverlapConfig(), CalibrateConfig()):
        assert all(entry.help for entry in describe(config))
