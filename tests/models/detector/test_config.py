from __future__ import annotations

from typing import Any

import pytest

from models.detector.config import DetectorConfig, DetectorResNetConfig, DetectorVitConfig
from openwit.config import describe, from_json, to_json
from openwit.errors import ConfigError


def test_the_defaults_are_resnet_50_and_every_field_has_help() -> None:
    config = DetectorConfig()
    assert (config.encoder, config.resnet.blocks, config.resnet.width) == ("resnet", (3, 4, 6, 3), 64)
    assert not [entry.path for entry in describe(config) if not entry.help]


def test_a_config_survives_json() -> None:
    config = DetectorConfig(encoder="vit", image_px=32, vit=DetectorVitConfig(patch_px=8, width=12, layers=1, heads=3))
    assert from_json(DetectorConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: DetectorResNetConfig(blocks=(3, 0)), "write 3,4,6,3"),
        (lambda: DetectorResNetConfig(width=0), "at least 1"),
        (lambda: DetectorConfig(embed_dim=0), "at least 1"),
        (lambda: DetectorConfig(image_px=16), "must be at least 32"),
        (lambda: DetectorConfig(encoder="vit", image_px=40), "multiple of vit.patch_px=16; write 32"),
        (lambda: DetectorConfig(encoder="vit", vit=DetectorVitConfig(width=64, heads=6)), "write 4"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_to_write(make: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        make()
