"""Sizes of the duplicate detector: frozen, checked, and light to import (no torch), for recipes and the command line's
help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DetectorResNetConfig:
    """A residual network without batch norm; the defaults are ResNet-50 (paper, appendix C)."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)  # bottleneck blocks of each stage; every stage but the first halves the side
    width: int = 64  # channels of the stem; stage i has 4 · width · 2^i

    def __post_init__(self) -> None:
        if not self.blocks or min(self.blocks) < 1:
            raise ConfigError(f"resnet.blocks={self.blocks}: must be one or more numbers of at least 1; write 3,4,6,3")
        if self.width < 1:
            raise ConfigError(f"resnet.width={self.width}: must be at least 1; ResNet-50 has 64")


@dataclass(frozen=True, kw_only=True)
class DetectorVitConfig:
    """A Vision Transformer in the network's place; the defaults are ViT-S/16's."""

    patch_px: int = 16  # side of a patch, in pixels; divides image_px
    width: int = 384  # channels of the residual stream
    layers: int = 12  # residual attention blocks
    heads: int = 6  # attention heads; divides width


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A descriptor of images; the defaults are the paper's network, at a size that it does not tell."""

    encoder: Literal["resnet", "vit"] = "resnet"  # the network; the sizes of the other one are passed over
    image_px: int = 224  # side of the square input, in pixels; images are squeezed into it whole
    embed_dim: int = 512  # width of the descriptor
    resnet: DetectorResNetConfig = field(default_factory=DetectorResNetConfig)  # sizes of encoder=resnet
    vit: DetectorVitConfig = field(default_factory=DetectorVitConfig)  # sizes of encoder=vit

    def __post_init__(self) -> None:
        if self.embed_dim < 1:
            raise ConfigError(f"embed_dim={self.embed_dim}: must be at least 1")
        smallest = 2 ** (len(self.resnet.blocks) + 1) if self.encoder == "resnet" else self.vit.patch_px
        if self.image_px < smallest:
            raise ConfigError(
                f"image_px={self.image_px}: must be at least {smallest}, which this network makes one place"
            )
        if self.encoder == "vit":
            self._check_vit()

    def _check_vit(self) -> None:
        vit = self.vit
        for name in ("patch_px", "width", "layers", "heads"):
            if getattr(vit, name) < 1:
                raise ConfigError(f"vit.{name}={getattr(vit, name)}: must be at least 1")
        if self.image_px % vit.patch_px:
            nearest = max(1, round(self.image_px / vit.patch_px)) * vit.patch_px
            raise ConfigError(
                f"image_px={self.image_px}: must be a multiple of vit.patch_px={vit.patch_px}; write {nearest}"
            )
        if vit.width % vit.heads:
            fitting = max(h for h in range(1, vit.heads + 1) if vit.width % h == 0)
            raise ConfigError(f"vit.heads={vit.heads}: must divide the width {vit.width}; write {fitting}")
