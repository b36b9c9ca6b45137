"""The nine networks against open_clip's and transformers', with the same weights."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

import models
from helpers.networks import (
    images,
    in_transformers_names,
    narrow,
    open_clip_network,
    settle_statistics,
    shaken,
    texts,
    transformers_network,
)
from helpers.places import ROOT
from models.clip import Clip
from models.config import (
    CONFIGS,
    ClipConfig,
    PreprocessConfig,
    ResNetConfig,
    TextConfig,
    VisionTransformerConfig,
    config_of,
)
from openwit.config import describe, from_json, override, to_json
from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ClipHolder:
    model: ClipConfig = field(default_factory=ClipConfig)  # the network


def test_the_defaults_are_vit_b_32() -> None:
    config = ClipConfig()
    assert (config.embed_dim, config.vision.num_patches, config.text.context_length) == (512, 49, 77)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (VisionTransformerConfig, {"image_px": 100}, r"vision\.image_px=100: .* multiple of patch_px=32; write 96"),
        (VisionTransformerConfig, {"heads": 7}, r"vision\.heads=7: .* divide the width 768; write 6"),
        (VisionTransformerConfig, {"layers": 0}, r"vision\.layers=0: must be at least 1"),
        (TextConfig, {"heads": 5}, r"text\.heads=5: .* divide the width 512; write 4"),
        (TextConfig, {"context_length": 2}, r"text\.context_length=2: .* write 3 or more"),
        (TextConfig, {"vocabulary_size": 2}, r"text\.vocabulary_size=2: .* write 3 or more"),
        (ResNetConfig, {"image_px": 100}, r"vision\.image_px=100: .* multiple of 32, the stride .*; write 96"),
        (ResNetConfig, {"heads": 30}, r"vision\.heads=30: .* divide the width 2048; write 16"),
        (ResNetConfig, {"layers": (3, 4, 6)}, r"vision\.layers=3,4,6: .* four stages.*; write 3,4,6,3 for RN50"),
        (ResNetConfig, {"layers": (3, 4, 0, 3)}, r"vision\.layers=3,4,0,3: .* at least 1"),
        (ResNetConfig, {"width": 63}, r"vision\.width=63: .*; write 64"),
        (PreprocessConfig, {"mean": (0.5, 0.5)}, r"preprocess\.mean=0\.5,0\.5: expected 3 numbers"),
        (PreprocessConfig, {"std": (0.5, 0.0, 0.5)}, r"preprocess\.std=0\.5,0\.0,0\.5: must be more than 0"),
        (ClipConfig, {"embed_dim": 0}, r"model\.embed_dim=0: must be at least 1"),
    ],
)
def test_a_wrong_size_is_refused_with_what_to_write(section: type, values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section(**values)


def test_the_resnet_defaults_are_rn50() -> None:
    config = ResNetConfig()
    assert (config.grid, config.num_patches, config.feature_width) == (7, 49, 2048)


@pytest.mark.parametrize("vision", [VisionTransformerConfig(patch_px=16), ResNetConfig(layers=(3, 4, 23, 3))])
def test_either_image_tower_survives_json_and_can_be_changed_from_the_command_line(
    vision: VisionTransformerConfig | ResNetConfig,
) -> None:
    config = ClipConfig(vision=vision, activation="gelu")
    assert from_json(ClipConfig, to_json(config)) == config
    for entry in describe(config):
        text = ",".join(map(str, entry.value)) if isinstance(entry.value, tuple) else str(entry.value)
        assert override(config, {entry.path: text}) == config, entry.path
        assert entry.help, entry.path


def test_a_model_of_the_paper_is_asked_for_by_its_name_and_changed_further() -> None:
    changed = override(ClipHolder(), {"model": "RN50x4", "model.activation": "gelu", "model.vision.image_px": "320"})
    assert changed.model.vision == ResNetConfig(image_px=320, layers=(4, 6, 10, 6), width=80, heads=40)
    assert (changed.model.activation, changed.model.embed_dim) == ("gelu", 640)
    with pytest.raises(ConfigError, match=r"model RN5: unknown; did you mean RN50"):
        override(ClipHolder(), {"model": "RN5"})


def test_a_resnet_written_with_a_wrong_type_is_refused_as_such() -> None:
    written = to_json(ClipConfig(vision=ResNetConfig())).replace(b"[3,4,6,3]", b'"3,4,6,3"')
    with pytest.raises(ConfigError, match=r"Expected `array`, got `str` - at `\$\.vision\.layers`"):
        from_json(ClipConfig, written)


def test_a_config_of_before_the_choice_of_towers_is_read_as_what_it_was() -> None:
    old = b"""{"embed_dim": 16, "text": {"context_length": 16, "heads": 2, "layers": 1, "vocabulary_size": 49408,
        "width": 16}, "vision": {"heads": 2, "image_px": 16, "layers": 1, "patch_px": 8, "width": 16}}"""
    assert from_json(ClipConfig, old) == ClipConfig(
        embed_dim=16,
        vision=VisionTransformerConfig(image_px=16, patch_px=8, width=16, layers=1, heads=2),
        text=TextConfig(context_length=16, width=16, layers=1, heads=2),
    )


def test_the_configs_import_without_torch_or_numpy() -> None:
    code = "import sys, models.config, train.evals.config; print(sorted({'torch', 'numpy', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


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
    return {name: parameter.grad for name, parameter in network.named_parameters()}  # type: ignore[misc]


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
    image, tokens = images(config, len(LENGTHS)), texts(LENGTHS)
    settle_statistics(ours.visual, image)  # type: ignore[arg-type]
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
    config = dataclasses.replace(narrow(name), activation=activation)  # type: ignore[arg-type]
    ours = shaken(Clip(config))
    theirs = transformers_network(config, ours.state_dict())
    image, tokens = images(config, len(LENGTHS)), texts(LENGTHS)
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
        image, tokens = images(config, 2), texts([30, 9], config.text.vocabulary_size)
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["9", "False"], done.stderr
