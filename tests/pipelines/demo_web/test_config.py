from __future__ import annotations

import pytest

from openwit.errors import ConfigError
from pipelines.demo_web.config import DemoWebConfig, FaultConfig


def test_values_that_cannot_be_are_refused_by_name() -> None:
    for field, value in (("port", 0), ("port", 70000), ("num_wat_files", 0), ("num_heldout", -1), ("slow_s", 0.0)):
        with pytest.raises(ConfigError, match=rf"^{field}={value}"):
            DemoWebConfig(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="num_planted=9: only held-out things"):
        DemoWebConfig(num_things=8, num_planted=9)
    with pytest.raises(ConfigError, match="slow=-1"):
        FaultConfig(slow=-1)
