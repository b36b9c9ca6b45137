"""The nine CLIPs of the paper by name (appendix F); light to import."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from models.config import ClipConfig, ResNetConfig, TextConfig, VisionTransformerConfig
from openwit.errors import ConfigError

if TYPE_CHECKING:
    from models.clip import Clip

_TEXT_640 = TextConfig(width=640, heads=10)
_TEXT_768 = TextConfig(width=768, heads=12)
_TEXT_1024 = TextConfig(width=1024, heads=16)
_LARGE = {"patch_px": 14, "width": 1024, "layers": 24, "heads": 16}

CONFIGS: dict[str, ClipConfig] = {
    "RN50": ClipConfig(embed_dim=1024, vision=ResNetConfig()),
    "RN101": ClipConfig(embed_dim=512, vision=ResNetConfig(layers=(3, 4, 23, 3))),
    "RN50x4": ClipConfig(
        embed_dim=640, vision=ResNetConfig(image_px=288, layers=(4, 6, 10, 6), width=80, heads=40), text=_TEXT_640
    ),
    "RN50x16": ClipConfig(
        embed_dim=768, vision=ResNetConfig(image_px=384, layers=(6, 8, 18, 8), width=96, heads=48), text=_TEXT_768
    ),
    "RN50x64": ClipConfig(
        embed_dim=1024, vision=ResNetConfig(image_px=448, layers=(3, 15, 36, 10), width=128, heads=64), text=_TEXT_1024
    ),
    "ViT-B/32": ClipConfig(),
    "ViT-B/16": ClipConfig(vision=VisionTransformerConfig(patch_px=16)),
    "ViT-L/14": ClipConfig(embed_dim=768, vision=VisionTransformerConfig(image_px=224, **_LARGE), text=_TEXT_768),
    "ViT-L/14@336px": ClipConfig(embed_dim=768, vision=VisionTransformerConfig(image_px=336, **_LARGE), text=_TEXT_768),
}


def list_models() -> tuple[str, ...]:
    """The names that `create` and `config_of` take."""
    return tuple(CONFIGS)


def config_of(name: str) -> ClipConfig:
    """The sizes of a model of the paper. Raises ConfigError with the nearest name where there is none."""
    if name not in CONFIGS:
        near = difflib.get_close_matches(name, CONFIGS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"model {name}: unknown{hint}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]


def create(name: str) -> Clip:
    """A model of the paper with weights drawn from torch's global generator, on the CPU, in training mode; its
    `preprocess` makes the pictures that it takes. Raises ConfigError for an unknown name."""
    config = config_of(name)
    from models.clip import Clip

    return Clip(config)
