from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.config import ClipConfig, PreprocessConfig, ResNetConfig, TextConfig, VisionTransformerConfig
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr
