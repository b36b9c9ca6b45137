from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from helpers.clips import RESNET, VIT, random_clip, same_weights
from models.interchange.convert import load, save
from models.interchange.openwit_folder import config_json
from openwit.errors import ConfigError, InputError


def test_the_config_says_activation_and_preprocessing() -> None:
    found = json.loads(config_json(RESNET))
    assert found["activation"] == "quick_gelu"
    assert found["preprocess"]["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert found["vision"] == {"image_px": 64, "layers": [1, 2, 1, 1], "width": 8, "heads": 4}


def test_a_bag_of_words_model_comes_back(tmp_path: Path) -> None:
    config = dataclasses.replace(VIT, text=dataclasses.replace(VIT.text, kind="cbow"))
    model = random_clip(config)
    save(model, tmp_path / "saved")
    found = load(tmp_path / "saved")
    assert found.config == config
    assert same_weights(model, found)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("", {"activation": "relu"}, "activation: Invalid enum value 'relu'"),
        ("", {"activation": None}, "activation: Expected `str`"),
        ("", {"colour": 1}, "model.colour is unknown"),
        ("vision", {"heads": 7}, "vision.heads=7: must divide the width 128"),
        ("vision", {"width": "wide"}, "vision: Expected `int`, got `str`"),
        ("text", {"layers": -1}, "text.layers=-1: must be at least 1"),
        ("text", {"width": 2.5}, "text: Expected `int`, got `float`"),
        ("preprocess", {"mean": [1, 2]}, "Expected `array` of length 3, got 2"),
    ],
)
def test_a_field_that_cannot_be_right_is_named(
    tmp_path: Path, section: str, change: dict[str, Any], message: str
) -> None:
    save(random_clip(VIT), tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    described = json.loads(path.read_text())
    (described[section] if section else described).update(change)
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"saved/config\.json: ") as error:
        load(tmp_path / "saved")
    assert message in str(error.value)


@pytest.mark.parametrize(("section", "field"), [("", "activation"), ("vision", "heads"), ("text", "kind")])
def test_a_missing_field_is_an_error_not_a_default(tmp_path: Path, section: str, field: str) -> None:
    save(random_clip(VIT), tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    described = json.loads(path.read_text())
    del (described[section] if section else described)[field]
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=rf"{field} is missing"):
        load(tmp_path / "saved")


@pytest.mark.parametrize("to", ["openwit", "open_clip", "huggingface"])
def test_a_config_of_a_billion_layers_does_not_keep_us_busy(tmp_path: Path, to: str) -> None:
    save(random_clip(VIT), tmp_path / "saved", to)  # type: ignore[arg-type]
    path = next((tmp_path / "saved").glob("*onfig.json"))
    path.write_text(re.sub(r'"(num_hidden_)?layers": 2', r'"\1layers": 1000000000', path.read_text()))
    with pytest.raises(ConfigError, match="no CLIP has over 1000"):
        load(tmp_path / "saved")
