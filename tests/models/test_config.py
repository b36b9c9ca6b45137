from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from openwit.errors import ConfigError


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
        (ClipConfig, {"embed_dim": 0}, r"model\.embed_dim=0: must be at least 1"),
    ],
)
def test_a_wrong_size_is_refused_with_what_to_write(section: type, values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section(**values)


def test_the_configs_import_without_torch_or_numpy() -> None:
    code = "import sys, models.config, train.evals.config; print(sorted({'torch', 'numpy', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr
