from __future__ import annotations

import pytest

from datagen.duplicates.config import OverlapConfig, split_eval_set
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
    ],
)
def test_what_cannot_be_right_is_a_config_error(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(OverlapConfig(), fields)


def test_a_set_is_split_at_the_first_equals_sign() -> None:
    assert split_eval_set("imagenet-v2=s3://bucket/key=1.parquet") == ("imagenet-v2", "s3://bucket/key=1.parquet")


def test_every_field_has_help() -> None:
    assert all(entry.help for entry in describe(OverlapConfig()))
