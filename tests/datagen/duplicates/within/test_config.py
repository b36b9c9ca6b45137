from __future__ import annotations

import pytest

from datagen.duplicates.within.config import WithinConfig
from openwit.config import override
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
