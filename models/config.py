"""Sizes of a CLIP, and the nine CLIPs of the paper by name (appendix F).

Frozen, checked, and light to import (no torch), for recipes and the command line's help.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from openwit.errors import ConfigError, did_you_mean

Activation = Literal["quick_gelu", "gelu"]


def _require_positive(section: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{section}.{name}={value}: must be at least 1")


def _require_heads(section: str, width: int, heads: int) -> None:
    if width % heads:
        fitting = max(h for h in range(1, heads + 1) if width % h == 0)
        raise ConfigError(f"{section}.heads={heads}: must divide the width {width}; write {fitting}")


def _require_multiple(image_px: int, divisor: int, what: str) -> None:
    if image_px % divisor:
        nearest = max(1, round(image_px / divisor)) * divisor
        raise ConfigError(f"vision.image_px={image_px}: must be a multiple of {what}; write {nearest}")


@dataclass(frozen=True, kw_only=True)
class VisionTransformerConfig:
    """Image tower; the defaults are ViT-B/32 (paper, appendix F)."""

    image_px: int = 224  # side of the square input image, in pixels
    patch_px: int = 32  # side of a patch, in pixels; divides image_px
    width: int = 768  # channels of the residual stream
    layers: int = 12  # residual attention blocks
    heads: int = 12  # attention heads; divides width

    def __post_init__(self) -> None:
        _require_positive(
            "vision", image_px=self.image_px, patch_px=self.patch_px, width=self.width, layers=self.layers,
            heads=self.heads,
        )  # fmt: skip
        _require_heads("vision", self.width, self.heads)
        _require_multiple(self.image_px, self.patch_px, f"patch_px={self.patch_px}")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_px // self.patch_px

    @property
    def num_patches(self) -> int:
        """Patches of one image, the class token not counted."""
        return self.grid**2

    @property
    def feature_width(self) -> int:
        """Channels of the features before the projection."""
        return self.width


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Image tower; the defaults are RN50 (paper, appendix F)."""

    image_px: int = 224  # side of the square input image, in pixels; a multiple of 32
    layers: tuple[int, ...] = (3, 4, 6, 3)  # bottleneck blocks of the four stages
    width: int = 64  # channels behind the stem; the features have 32 times as many
    heads: int = 32  # heads of the attention pool; divides 32 times the width

    def __post_init__(self) -> None:
        _require_positive("vision", image_px=self.image_px, width=self.width, heads=self.heads)
        if len(self.layers) != 4 or min(self.layers) < 1:
            written = ",".join(map(str, self.layers))
            raise ConfigError(
                f"vision.layers={written}: expected the blocks of four stages, each at least 1; write 3,4,6,3 for RN50"
            )
        if self.width % 2:
            raise ConfigError(f"vision.width={self.width}: the stem begins with half of it; write {self.width + 1}")
        _require_heads("vision", self.feature_width, self.heads)
        _require_multiple(self.image_px, 32, "32, the stride of the network")

    @property
    def grid(self) -> int:
        """Places of the last feature map along a side."""
        return self.image_px // 32

    @property
    def num_patches(self) -> int:
        """Places of the last feature map."""
        return self.grid**2

    @property
    def feature_width(self) -> int:
        """Channels of the features before the projection."""
        return 32 * self.width


VisionConfig = VisionTransformerConfig | ResNetConfig


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Text tower; the defaults go with ViT-B/32 (paper, section 2.4 and appendix F)."""

    kind: Literal["transformer", "cbow"] = "transformer"  # cbow: the mean of the token embeddings (figure 3)
    context_length: int = 77  # tokens of a text, start and end token included; longer texts are cut
    vocabulary_size: int = 49408  # tokens known; the end token is the last one
    width: int = 512  # channels of the residual stream
    layers: int = 12  # residual attention blocks; cbow has none
    heads: int = 8  # attention heads; divides width; cbow has none

    def __post_init__(self) -> None:
        _require_positive("text", width=self.width, layers=self.layers, heads=self.heads)
        _require_heads("text", self.width, self.heads)
        if self.context_length < 3:
            raise ConfigError(
                f"text.context_length={self.context_length}: must hold the start token, the end token and at least "
                "one more; write 3 or more (CLIP: 77)"
            )
        if self.vocabulary_size < 3:
            raise ConfigError(
                f"text.vocabulary_size={self.vocabulary_size}: must hold the start token, the end token and at least "
                "one more; write 3 or more (CLIP: 49408)"
            )


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """From an image to the image tower's input; the defaults are those of OpenAI's release."""

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # of red, green, blue, in [0, 1]
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)  # deviation of red, green, blue
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # of resizing, always antialiased
    resize_mode: Literal["shortest", "squash"] = "shortest"  # shorter side to image_px and centre crop; or both sides

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3:
                written = ",".join(map(str, values))
                raise ConfigError(f"preprocess.{name}={written}: expected 3 numbers, for red, green and blue")
        if min(self.std) <= 0:
            raise ConfigError(f"preprocess.std={','.join(map(str, self.std))}: must be more than 0")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Both towers and the space they share; the defaults are ViT-B/32."""

    embed_dim: int = 512  # width of the shared embedding
    activation: Activation = "quick_gelu"  # of the transformers; OpenAI's weights want quick_gelu, others often gelu
    vision: VisionConfig = field(default_factory=VisionTransformerConfig)  # image tower
    text: TextConfig = field(default_factory=TextConfig)  # text tower
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)  # what the image tower expects

    def __post_init__(self) -> None:
        _require_positive("model", embed_dim=self.embed_dim)

    @classmethod
    def named(cls, name: str) -> ClipConfig:
        """A model of the paper, as `--pretrain.model RN50` asks for. Raises ConfigError for an unknown name."""
        return config_of(name)


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
        raise ConfigError(f"model {name}: unknown{did_you_mean(name, CONFIGS)}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]
