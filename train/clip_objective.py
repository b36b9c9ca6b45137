"""CLIP's objective: a picture and its caption (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from models.clip import Clip
from models.preprocess import normalize_pixels
from models.tokenizer import Tokenizer
from train.config import PretrainConfig
from train.examples import DecodedCache, Example, ExampleMaker


@dataclass(frozen=True)
class ClipObjective:
    """See train.objective.Objective. Inputs: uint8 pictures [B, 3, S, S] and token ids [B, L]."""

    config: PretrainConfig

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.of(self.config.model.text, self.config.merges)

    def build(self) -> Clip:
        model = Clip(self.config.model)
        model.set_checkpointing(self.config.checkpoint_blocks)
        return model

    def maker(self, excluded: frozenset[str]) -> ExampleMaker:
        stream = self.config.stream
        cache = DecodedCache(stream.cache_decoded_mb << 20)
        return ExampleMaker(self.config.seed, stream.resize_px, self.config.model.vision.image_px, excluded, cache)

    def collate(self, examples: Sequence[Example]) -> tuple[Tensor, ...]:
        image = torch.from_numpy(np.stack([example.pixels for example in examples])).permute(0, 3, 1, 2).contiguous()
        return image, self._tokenizer.encode([example.caption for example in examples])

    def blank(self) -> tuple[Tensor, ...]:
        image_px = self.config.model.vision.image_px
        return torch.zeros(1, 3, image_px, image_px, dtype=torch.uint8), torch.ones(1, 3, dtype=torch.int64)

    def prepare(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        image, tokens = inputs
        return normalize_pixels(image, self.config.model.preprocess), tokens

    def after_step(self, model: nn.Module) -> None:
        cast(Clip, model).clamp_logit_scale(self.config.max_logit_scale)

    def measures(self, model: nn.Module) -> dict[str, float]:
        return {"logit_scale": cast(Clip, model).logit_scale.exp().item()}
