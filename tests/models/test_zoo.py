"""The nine networks against open_clip's and transformers', with the same weights."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from helpers.networks import (
    in_transformers_names,
    narrow,
    open_clip_network,
    pictures,
    settle_statistics,
    shaken,
    texts,
    transformers_network,
)
from models.clip import Clip
from models.config import ClipConfig, PreprocessConfig
from models.zoo import CONFIGS, config_of
from openwit.config import from_json, to_json
from openwit.errors import ConfigError

# Weights in millions and tensors of a state dict, as counted in OpenAI's releases.
RELEASED = {
    "RN50": (102.0, 489),
    "RN101": (119.7, 795),
    "RN50x4": (178.3, 669),
    "RN50x16": (291.0, 921),
    "RN50x64": (623.3, 1353),
    "ViT-B/32": (151.3, 302),
    "ViT-B/16": (149.6, 302),
    "ViT-L/14": (427.6, 446),
    "ViT-L/14@336px": (427.9, 446),
}
LENGTHS = [77, 3, 12, 20, 12]


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def logits(out: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    image_BD, text_BD, scale = out
    return scale * image_BD @ text_BD.T


def gradients(network: nn.Module, logits_BB: Tensor) -> dict[str, Tensor]:
    """Of the contrastive loss, by name."""
    network.zero_grad()
    (logits_BB.logsumexp(0) + logits_BB.logsumexp(1) - 2 * logits_BB.diagonal()).sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def require_close_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Within 1e-4 of the norm in fp32, 1e-9 in float64."""
    assert ours.keys() == theirs.keys()
    tolerance = 1e-9 if ours["logit_scale"].dtype == torch.float64 else 1e-4
    # The gradient of a key's bias is 0 but for rounding: all logits of a query move alike.
    floor = tolerance / 100 * max(value.norm() for value in theirs.values())
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).norm() <= tolerance * theirs[name].norm() + floor, name


def test_the_list_is_the_papers_nine() -> None:
    assert models.list_models() == tuple(RELEASED)


@pytest.mark.parametrize("name", RELEASED)
def test_names_shapes_and_number_of_weights_are_the_released_ones(name: str) -> None:
    pytest.importorskip("open_clip")
    with torch.device("meta"):
        ours, theirs = Clip(config_of(name)), open_clip_network(config_of(name))
    assert shapes(ours) == shapes(theirs)
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert count == sum(parameter.numel() for parameter in theirs.parameters())
    assert (round(count / 1e6, 1), len(shapes(ours))) == RELEASED[name]


@pytest.mark.parametrize("name", RELEASED)
def test_the_heads_are_those_of_open_clips_own_configuration(name: str) -> None:
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.get_model_config(name.replace("/", "-").replace("@336px", "-336"))
    config = config_of(name)
    vision, text = theirs["vision_cfg"], theirs["text_cfg"]
    assert (config.embed_dim, config.vision.image_px) == (theirs["embed_dim"], vision["image_size"])
    assert (config.vision.width, config.text.width) == (vision["width"], text["width"])
    assert config.vision.feature_width // config.vision.heads == 64  # CLIPVisionCfg.head_width
    assert (config.text.heads, config.text.layers) == (text["heads"], text["layers"])


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", RELEASED)
def test_the_same_weights_give_open_clips_logits_and_gradients(name: str, mode: str) -> None:
    pytest.importorskip("open_clip")
    torch.manual_seed(0)
    config = narrow(name)
    ours, theirs = shaken(Clip(config)), open_clip_network(config)
    image, tokens = pictures(config, len(LENGTHS)), texts(LENGTHS)
    settle_statistics(ours.visual, image)
    theirs.load_state_dict(ours.state_dict())
    for network in (ours, theirs):
        network.train(mode == "train")
    ours_BB, theirs_BB = logits(ours(image, tokens)), logits(theirs(image, tokens))
    torch.testing.assert_close(ours_BB, theirs_BB, atol=1e-5, rtol=0)
    if name.startswith("RN"):  # in fp32 a rounding can turn a ReLU on or off, and then gradients differ by a jump
        ours, theirs, image = ours.double(), theirs.double(), image.double()
        ours_BB, theirs_BB = logits(ours(image, tokens)), logits(theirs(image, tokens))
        torch.testing.assert_close(ours_BB, theirs_BB, atol=1e-11, rtol=0)
    require_close_gradients(gradients(ours, ours_BB), gradients(theirs, theirs_BB))
    expected = dict(theirs.named_buffers())
    for key, statistic in ours.named_buffers():
        torch.testing.assert_close(statistic, expected[key], atol=1e-5, rtol=0, msg=key)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("name", [name for name in RELEASED if name.startswith("ViT")])
def test_the_same_weights_give_the_logits_and_gradients_of_transformers(name: str, activation: str) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = dataclasses.replace(narrow(name), activation=activation)
    ours = shaken(Clip(config))
    theirs = transformers_network(config, ours.state_dict())
    image, tokens = pictures(config, len(LENGTHS)), texts(LENGTHS)
    ours_BB = logits(ours(image, tokens))
    theirs_BB = theirs(pixel_values=image, input_ids=tokens).logits_per_image
    torch.testing.assert_close(ours_BB, theirs_BB, atol=1e-5, rtol=0)
    expected = gradients(theirs, theirs_BB)
    require_close_gradients(in_transformers_names(gradients(ours, ours_BB)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_at_full_size_the_logits_are_open_clips_too(name: str) -> None:
    pytest.importorskip("open_clip")
    torch.manual_seed(0)
    config = config_of(name)
    with torch.no_grad():
        ours = shaken(models.create(name))
        image, tokens = pictures(config, 2), texts([30, 9], config.text.vocabulary_size)
        ours_BB = logits(ours(image, tokens))
        weights = ours.state_dict()
        del ours
        with torch.device("meta"):
            theirs = open_clip_network(config)
        theirs.load_state_dict(weights, assign=True)
        theirs.attn_mask = torch.full((77, 77), float("-inf")).triu(1)  # not of the state dict
        torch.testing.assert_close(ours_BB, logits(theirs(image, tokens)), atol=1e-5, rtol=0)


def test_a_created_model_has_the_sizes_of_its_name_and_openai_preprocessing() -> None:
    with torch.device("meta"):
        model = models.create("ViT-L/14@336px")
    assert model.config == CONFIGS["ViT-L/14@336px"]
    assert model.config.preprocess == PreprocessConfig()
    assert math.isclose(model.config.preprocess.mean[0], 0.48145466)


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"model ViT-B-32: unknown; did you mean ViT-B/32\?.*RN50x64"):
        models.create("ViT-B-32")


@pytest.mark.parametrize("name", RELEASED)
def test_the_sizes_survive_json(name: str) -> None:
    assert from_json(ClipConfig, to_json(config_of(name))) == config_of(name)


def test_the_names_are_listed_without_torch() -> None:
    code = "import sys, models; print(len(models.list_models()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["9", "False"], done.stderr
