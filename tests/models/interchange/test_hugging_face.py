"""What transformers reads of ours and we of transformers'."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.clips import RESNET, VIT, inputs, logits, random_clip
from models.config import ClipConfig, PreprocessConfig
from models.interchange.convert import load, save
from models.preprocess import preprocess
from openwit.errors import ConfigError, InputError

GELU = dataclasses.replace(VIT, activation="gelu")
SQUASH = PreprocessConfig(
    mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear", resize_mode="squash"
)  # fmt: skip


def their_logits(model: Any) -> torch.Tensor:
    image, tokens = inputs(VIT)
    with torch.no_grad():
        return model(input_ids=tokens, pixel_values=image).logits_per_image  # type: ignore[no-any-return]


@pytest.mark.parametrize("config", [VIT, GELU], ids=["quick_gelu", "gelu"])
def test_transformers_computes_the_same_logits_from_our_folder(tmp_path: Path, config: ClipConfig) -> None:
    transformers = pytest.importorskip("transformers")
    model = random_clip(config)
    save(model, tmp_path / "saved", "huggingface")
    theirs, loading = transformers.CLIPModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    torch.testing.assert_close(their_logits(theirs.eval()), logits(model, config), atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end_token", [299, 2])
def test_their_folder_gives_the_same_logits_here(tmp_path: Path, activation: str, end_token: int) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shared = {"num_hidden_layers": 2, "hidden_act": activation}
    text = {
        "vocab_size": 300, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1,
        "max_position_embeddings": 20, "eos_token_id": end_token,
    }  # fmt: skip
    vision = {
        "hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "image_size": 64, "patch_size": 16
    }  # fmt: skip
    config = transformers.CLIPConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=48)
    theirs = transformers.CLIPModel(config).eval()
    theirs.save_pretrained(tmp_path)
    found = load(tmp_path)
    assert found.config == dataclasses.replace(VIT, activation=activation)  # type: ignore[arg-type]
    torch.testing.assert_close(logits(found, VIT), their_logits(theirs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", [PreprocessConfig(), SQUASH], ids=["shortest", "squash"])
def test_their_image_processor_makes_our_pixels(tmp_path: Path, config: PreprocessConfig) -> None:
    transformers = pytest.importorskip("transformers")
    save(random_clip(dataclasses.replace(VIT, preprocess=config)), tmp_path / "saved", "huggingface")
    processor = transformers.CLIPImageProcessor.from_pretrained(tmp_path / "saved")
    random = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(random).resize((120, 90), Image.Resampling.BICUBIC)
    found = torch.as_tensor(np.array(processor(image)["pixel_values"][0]))
    torch.testing.assert_close(found, preprocess(image, 64, config), atol=0.03, rtol=0)  # a level of 255, or less


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("text_config", {"hidden_act": "gelu"}, "hidden_act gelu for text, quick_gelu for images; expected one"),
        ("vision_config", {"hidden_act": "relu"}, "Invalid enum value 'relu'"),
        ("vision_config", {"intermediate_size": 100}, "intermediate_size=100, expected four times the hidden_size"),
        ("text_config", {"layer_norm_eps": 1e-6}, "layer_norm_eps=1e-06, expected 1e-05"),
        ("text_config", {"eos_token_id": 7}, "eos_token_id=7, expected the last of 300 tokens"),
        ("vision_config", {"image_size": 65}, "vision.image_px=65: must be a multiple"),
    ],
)
def test_a_network_that_ours_would_not_equal_is_refused(
    tmp_path: Path, section: str, change: dict[str, Any], message: str
) -> None:
    save(random_clip(VIT), tmp_path / "saved", "huggingface")
    path = tmp_path / "saved" / "config.json"
    described = json.loads(path.read_text())
    described[section] |= change
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"config\.json: describes no CLIP") as error:
        load(tmp_path / "saved")
    assert message in str(error.value)


def test_a_model_of_another_type_is_refused_by_its_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", "text_config": {}, "vision_config": {}}))
    with pytest.raises(InputError, match="Invalid enum value 'siglip'"):
        load(tmp_path)


def test_an_interpolation_that_we_lack_is_refused(tmp_path: Path) -> None:
    save(random_clip(VIT), tmp_path / "saved", "huggingface")
    (tmp_path / "saved" / "preprocessor_config.json").write_text(json.dumps({"resample": 0}))
    with pytest.raises(InputError, match=r"resample=0; expected 3 \(bicubic\) or 2"):
        load(tmp_path / "saved")


def test_resnets_and_cbow_are_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CLIPModel has no ResNets; write --to open_clip or --to openai"):
        save(random_clip(RESNET), tmp_path / "saved", "huggingface")
    cbow = dataclasses.replace(VIT, text=dataclasses.replace(VIT.text, kind="cbow"))
    with pytest.raises(ConfigError, match="no text tower of kind cbow; write --to openwit"):
        save(random_clip(cbow), tmp_path / "saved", "huggingface")
    assert list(tmp_path.iterdir()) == []
