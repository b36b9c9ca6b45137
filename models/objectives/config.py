"""Sizes of the two other objectives: frozen, checked, and light to import (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import Activation
from openwit.errors import ConfigError


def _require_vocabulary(section: str, vocabulary_size: int) -> None:
    if vocabulary_size < 3:
        raise ConfigError(
            f"{section}.vocabulary_size={vocabulary_size}: must hold the start token, the end token and at least one "
            "more; write the tokenizer's (CLIP: 49408)"
        )


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """The decoder that predicts captions; the defaults are the text tower's of ViT-B/32 (paper, section 2.3: a
    transformer of 63 million parameters, without what looks at the picture)."""

    context_length: int = 77  # tokens of a text, start and end token included
    vocabulary_size: int = 49408  # tokens known; the end token is the last one
    width: int = 512  # channels of the residual stream
    layers: int = 12  # blocks: causal attention, attention to the picture, MLP
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
