"""What open_clip reads of ours and we of open_clip's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers.clips import RESNET, VIT, logits, random_clip
from models.config import ClipConfig
from models.interchange.convert import load, save
from openwit.errors import ConfigError, InputError

GELU = dataclasses.replace(VIT, activation="gelu")


@pytest.mark.parametrize("config", [VIT, GELU, RESNET], ids=["vit", "gelu", "resnet"])
def test_open_clip_computes_the_same_logits_from_our_folder(tmp_path: Path, config: ClipConfig) -> None:
    open_clip = pytest.importorskip("open_clip")
    model = random_clip(config)
    save(model, tmp_path / "saved", "open_clip")
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'saved'}")
    torch.testing.assert_close(logits(theirs.eval(), config), logits(model, config), atol=1e-5, rtol=0)
    assert f"size={config.vision.image_px}" in repr(preprocess)


def test_open_clip_computes_the_same_logits_from_our_archive(tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from open_clip.openai import load_openai_model

    model = random_clip(RESNET)
    for tensor in model.state_dict().values():
        tensor.copy_(tensor.half())  # their loader makes all of it half precision
    save(model, tmp_path / "model.pt", "openai")
    theirs = load_openai_model(str(tmp_path / "model.pt"), precision="fp32", device="cpu")
    torch.testing.assert_close(logits(theirs.eval(), RESNET), logits(model, RESNET), atol=1e-5, rtol=0)


@pytest.mark.parametrize("custom_text", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_their_networks_give_the_same_logits_here(tmp_path: Path, custom_text: bool, quick_gelu: bool) -> None:
    pytest.importorskip("open_clip")
    from open_clip.model import CLIP, CustomTextCLIP

    vision = {"image_size": 64, "layers": 2, "width": 128, "patch_size": 16}
    text = {"context_length": 20, "vocab_size": 300, "width": 64, "heads": 1, "layers": 2}
    torch.manual_seed(0)
    described = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick_gelu}
    theirs = (CustomTextCLIP if custom_text else CLIP)(**described).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": described | {"custom_text": custom_text}}))
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    found = load(tmp_path)
    assert found.config == dataclasses.replace(VIT, activation="quick_gelu" if quick_gelu else "gelu")
    torch.testing.assert_close(logits(found, VIT), logits(theirs, VIT), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision_cfg": {"timm_model_name": "resnet50"}}, "unknown field `timm_model_name`"),
        ({"vision_cfg": {"no_ln_pre": True}}, "unknown field `no_ln_pre`"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "unknown field `hf_model_name`"),
        ({"vision_cfg": {"image_size": 65}}, "vision.image_px=65: must be a multiple"),
        ({"embed_dim": "wide"}, "Expected `int`, got `str`"),
    ],
)
def test_a_network_of_another_kind_is_refused_by_the_field_that_says_so(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    save(random_clip(VIT), tmp_path / "saved", "open_clip")
    path = tmp_path / "saved" / "open_clip_config.json"
    described = json.loads(path.read_text())
    for name, value in change.items():
        old = described["model_cfg"][name]
        described["model_cfg"][name] = {**old, **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"describes no CLIP of the paper's kinds") as error:
        load(tmp_path / "saved")
    assert message in str(error.value)


def test_fields_that_switch_a_feature_off_are_no_obstacle(tmp_path: Path) -> None:
    save(random_clip(VIT), tmp_path / "saved", "open_clip")
    path = tmp_path / "saved" / "open_clip_config.json"
    described = json.loads(path.read_text())
    described["model_cfg"]["vision_cfg"] |= {"no_ln_pre": False, "timm_model_name": None, "patch_dropout": 0.5}
    path.write_text(json.dumps(described))
    assert load(tmp_path / "saved").config == VIT


def test_a_text_tower_that_open_clip_lacks_is_not_written(tmp_path: Path) -> None:
    cbow = dataclasses.replace(VIT, text=dataclasses.replace(VIT.text, kind="cbow"))
    with pytest.raises(ConfigError, match="no text tower of kind cbow; write --to openwit"):
        save(random_clip(cbow), tmp_path / "saved", "open_clip")
