"""Narrow CLIPs of both kinds whose weights all differ from each other, so that no two can be mistaken."""

from __future__ import annotations

from typing import Any

import torch

from models.clip import Clip
from models.config import ClipConfig, ResNetConfig, TextConfig, VisionTransformerConfig

TEXT = TextConfig(context_length=20, vocabulary_size=300, width=64, layers=2, heads=1)
VIT = ClipConfig(
    embed_dim=48, vision=VisionTransformerConfig(image_px=64, patch_px=16, width=128, layers=2, heads=2), text=TEXT
)
RESNET = ClipConfig(embed_dim=48, vision=ResNetConfig(image_px=64, layers=(1, 2, 1, 1), width=8, heads=4), text=TEXT)


def random_clip(config: ClipConfig, seed: int = 0) -> Clip:
    """In eval mode; batch norms have statistics, and gains and biases are no ones and zeros."""
    random = torch.Generator().manual_seed(seed)
    model = Clip(config).eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim:
            tensor.copy_(0.05 * torch.randn(tensor.shape, generator=random))
            if "running_var" in name or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.abs_().add_(0.5)
    return model


def inputs(config: ClipConfig, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Three images, and three texts of different lengths."""
    random = torch.Generator().manual_seed(seed)
    px, last = config.vision.image_px, config.text.vocabulary_size - 1
    tokens = torch.zeros(3, config.text.context_length, dtype=torch.int64)
    for row, length in zip(tokens, (4, 12, config.text.context_length), strict=True):
        row[: length - 1] = torch.randint(1, last - 1, (length - 1,), generator=random)
        row[0], row[length - 1] = last - 1, last
    return torch.randn(3, 3, px, px, generator=random), tokens


def same_weights(one: Clip, other: Clip) -> bool:
    """Whether every tensor of both is equal, bit for bit."""
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def logits(model: Any, config: ClipConfig) -> torch.Tensor:
    """[3, 3] of `inputs`, from ours or open_clip's network."""
    with torch.no_grad():
        image_BD, text_BD, scale = model(*inputs(config))[:3]
    return scale * image_BD @ text_BD.T  # type: ignore[no-any-return]
