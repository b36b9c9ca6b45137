from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.clips import RESNET, VIT, random_clip, same_weights
from models.config import PreprocessConfig, VisionTransformerConfig
from models.interchange.convert import load, save
from openwit.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def test_the_archive_is_what_the_released_loader_expects(tmp_path: Path) -> None:
    model = random_clip(RESNET)
    save(model, tmp_path / "RN.pt", "openai")
    weights = torch.jit.load(tmp_path / "RN.pt", map_location="cpu").state_dict()
    numbers = {name: int(weights.pop(name)) for name in ("input_resolution", "context_length", "vocab_size")}
    assert numbers == {"input_resolution": 64, "context_length": 20, "vocab_size": 300}
    assert weights.keys() == model.state_dict().keys()


def test_weights_that_fit_into_half_precision_are_written_in_it_and_no_others(tmp_path: Path) -> None:
    model = random_clip(VIT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
        model.visual.proj[0, 0] = 0.1  # type: ignore[operator]
    save(model, tmp_path / "model.pt", "openai")
    weights = torch.jit.load(tmp_path / "model.pt").state_dict()
    assert weights.pop("visual.proj").dtype == torch.float32
    assert {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()} == {torch.float16}
    assert same_weights(model, load(tmp_path / "model.pt"))


def test_a_state_dict_with_openais_marks_needs_no_activation(tmp_path: Path) -> None:
    marks = {"input_resolution": 64, "context_length": 20, "vocab_size": 300}
    model = random_clip(VIT)
    torch.save(model.state_dict() | {name: torch.tensor(mark) for name, mark in marks.items()}, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").config == VIT


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"activation": "gelu"}, "activation"),
        ({"preprocess": PreprocessConfig(resize_mode="squash")}, "preprocess"),
        ({"vision": VisionTransformerConfig(image_px=64, patch_px=16, width=128, layers=2, heads=4)}, "vision"),
        ({"text": dataclasses.replace(VIT.text, heads=2)}, "text"),
    ],
)
def test_a_model_that_would_be_read_as_another_is_not_written(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigError, match=f"has no place for this model's {field}; write --to open_clip"):
        save(random_clip(dataclasses.replace(VIT, **changes)), tmp_path / "model.pt", "openai")
    cbow = dataclasses.replace(VIT, text=dataclasses.replace(VIT.text, kind="cbow"))
    with pytest.raises(ConfigError, match=r"lacks positional_embedding.*write --to openwit"):
        save(random_clip(cbow), tmp_path / "model.pt", "openai")
    assert list(tmp_path.iterdir()) == []
