from __future__ import annotations

import pytest

from datagen.duplicates.within.config import PrintsConfig, WithinConfig
from openwit.config import free_fields, override
from openwit.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_bands", "0"), ("num_bands", "201"), ("band_bits", "7"), ("max_distance256", "0.5"), ("min_score", "0"),
        ("min_contrast", "-1"), ("max_bucket", "0"), ("device", "tpu"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}={value}"):
        override(WithinConfig(), {field: value})


def test_the_fingerprints_depend_on_their_own_settings_alone() -> None:
    """A new threshold leaves them as they are; a setting of theirs makes them anew."""
    assert WithinConfig(max_distance256=0.2, min_score=0.5, max_bucket=3, merge_captions=False).prints == PrintsConfig()
    assert WithinConfig(num_bands=3, detector="a").prints == PrintsConfig(num_bands=3, detector="a")
    assert free_fields(PrintsConfig) == {"device"}
    assert free_fields(WithinConfig) == {"device", "merge_captions"}
