"""Sizes of a CLIP: frozen, checked, and light to import (no torch), for recipes and the command line's help."""

from __future__ import annotations

from dataclasses import dataclass, field

from openwit.errors import ConfigError


def _require_positive(section: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{section}.{name}={value}: must be at least 1")


def _require_heads(section: str, width: int, heads: int) -> None:
    if width % heads:
        fitting = max(h for h in range(1, heads + 1) if width % h == 0)
        raise ConfigError(f"{section}.heads={heads}: must divide the width {width}; write {fitting}")


@dataclass(frozen=True, kw_only=True)
class VisionTransformerConfig:
    """Image tower; the defaults are ViT-B/32 (paper, table 19)."""

    image_px: int = 224  # side of the square input picture, in pixels
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
        if self.image_px % self.patch_px:
            nearest = max(1, round(self.image_px / self.patch_px)) * self.patch_px
            raise ConfigError(
                f"vision.image_px={self.image_px}: must be a multiple of patch_px={self.patch_px}; write {nearest}"
            )

    @property
    def num_patches(self) -> int:
        """Patches of one picture, the class token not counted."""
        return (self.image_px // self.patch_px) ** 2


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Text tower; the defaults go with ViT-B/32 (paper, section 2.4 and table 19)."""

    context_length: int = 77  # tokens of a text, start and end token included; longer texts are cut
    vocabulary_size: int = 49408  # tokens known; the end token is the last one
    width: int = 512  # channels of the residual stream
    layers: int = 12  # residual attention blocks
    heads: int = 8  # attention heads; divides width

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
class ClipConfig:
    """Both towers and the space they share; the defaults are ViT-B/32."""

    embed_dim: int = 512  # width of the shared embedding
    vision: VisionTransformerConfig = field(default_factory=VisionTransformerConfig)  # image tower
    text: TextConfig = field(default_factory=TextConfig)  # text tower

    def __post_init__(self) -> None:
        _require_positive("model", embed_dim=self.embed_dim)
