"""Image towers of a few thousand parameters, images for them, and rows of ids as the tokenizer gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.config import ResNetConfig, VisionTransformerConfig
from models.resnet import ModifiedResNet
from models.vit import VisionTransformer

VOCABULARY = 20  # start token 18, end token 19


def small_tower(kind: str) -> VisionTransformer | ModifiedResNet:
    """A tower for images of 32 pixels: "vit" has four places, "resnet" one."""
    torch.manual_seed(0)
    if kind == "vit":
        return VisionTransformer(VisionTransformerConfig(image_px=32, patch_px=16, width=16, layers=1, heads=2), 8)
    return ModifiedResNet(ResNetConfig(image_px=32, layers=(1, 1, 1, 1), width=4, heads=4), 8)


def images(number: int) -> Tensor:
    """[number, 3, 32, 32], each unlike the others."""
    return torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def rows(*texts: Sequence[int], length: int = 8) -> Tensor:
    """int64 [B, length]: start token, the ids, end token, zeros."""
    made = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in zip(made, texts, strict=True):
        row[: len(text) + 2] = torch.tensor([VOCABULARY - 2, *text, VOCABULARY - 1])
    return made


EIGHT = rows([1, 2], [3], [4, 5, 6], [0, 7], [8, 8, 9], [10, 0, 1], [11, 12, 13, 14], [2, 1])
