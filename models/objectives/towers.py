"""What both objectives ask of an image tower, and of the tokenizer's rows.

Shapes: B batch · S image side in pixels · P places of the feature map · F feature width · L tokens of a text.

Sizes of the two other objectives: frozen, checked, and light to import (no torch).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.config import Activation
from models.resnet import ModifiedResNet
from models.vit import VisionTransformer
from openwit.errors import ConfigError

ImageTower = VisionTransformer | ModifiedResNet


def freeze(tower: ImageTower, names: tuple[str, ...]) -> None:
    """Parameters that begin with one of the names take no part in an objective: without gradients, distributed
    training does not wait for them and weight decay does not shrink them."""
    for name, parameter in tower.named_parameters():
        if name.startswith(names):
            parameter.requires_grad_(False)


def ends(tokens_BL: Tensor) -> Tensor:
    """The place [B] of each text's end token, the highest id of the vocabulary."""
    return tokens_BL.argmax(dim=-1)


def between_marks(tokens_BL: Tensor) -> Tensor:
    """bool [B, L]: the text itself, behind the start token and before the end token. Padding shares its id with a word,
    so ids alone don't tell."""
    column_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    return (column_L > 0) & (column_L < ends(tokens_BL)[:, None])


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in a type that can bear sums over the vocabulary."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_names(tokens_CL: Tensor) -> None:
    """Raises ValueError where a class name has no token: it would be as likely as can be."""
    empty = (~between_marks(tokens_CL).any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"class name {empty[0]} has no tokens: give it a name")


def _require_vocabulary(section: str, vocabulary_size: int) -> None:
    if vocabulary_size < 3:
        raise ConfigError(
            f"{section}.vocabulary_size={vocabulary_size}: must hold the start token, the end token and at least one "
            "more; write the tokenizer's (CLIP: 49408)"
        )


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """The decoder that predicts captions; the defaults are the text tower's of ViT-B/32 (paper, section 2.3: a
    transformer of 63 million parameters, without what looks at the image)."""

    context_length: int = 77  # tokens of a text, start and end token included
    vocabulary_size: int = 49408  # tokens known; the end token is the last one
    width: int = 512  # channels of the residual stream
    layers: int = 12  # blocks: causal attention, attention to the image, MLP
    heads: int = 8  # attention heads; divides width
    activation: Activation = "quick_gelu"  # of the MLPs

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("layers", self.layers), ("heads", self.heads)):
            if value < 1:
                raise ConfigError(f"caption.{name}={value}: must be at least 1")
        if self.width % self.heads:
            fitting = max(heads for heads in range(1, self.heads + 1) if self.width % heads == 0)
            raise ConfigError(f"caption.heads={self.heads}: must divide the width {self.width}; write {fitting}")
        if self.context_length < 3:
            raise ConfigError(
                f"caption.context_length={self.context_length}: must hold the start token, the end token and at least "
                "one more; write 3 or more (CLIP: 77)"
            )
        _require_vocabulary("caption", self.vocabulary_size)


@dataclass(frozen=True, kw_only=True)
class BagOfWordsConfig:
    """The layer that predicts which tokens stand in a caption."""

    vocabulary_size: int = 49408  # tokens known; the end token is the last one
    expected_tokens: float = 12.0  # distinct tokens of a caption; where the predicted probabilities begin

    def __post_init__(self) -> None:
        _require_vocabulary("bag_of_words", self.vocabulary_size)
        if not 0 < self.expected_tokens < self.vocabulary_size:
            raise ConfigError(
                f"bag_of_words.expected_tokens={self.expected_tokens}: must be more than 0 and fewer than the "
                f"{self.vocabulary_size} tokens of the vocabulary"
            )
