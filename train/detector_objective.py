"""The duplicate detector's objective: a picture and a copy of it as the web makes them (paper, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.copies import augment
from models.descriptor import squeeze
from models.detector import Detector
from models.preprocess import normalize_pixels
from train.config import DetectorTrainingConfig
from train.examples import DecodedCache, resized_picture, usable_captions
from train.images import Pixels
from train.order import draw
from train.tars import TarSample, Unusable


@dataclass(frozen=True)
class CopyPair:
    """A picture and its copy, both uint8 [S, S, 3]."""

    key: str
    pixels: Pixels
    copy: Pixels


@dataclass(frozen=True)
class CopyPairMaker:
    """Makes pairs of pictures and copies; what it draws depends on (seed, epoch, key) alone."""

    seed: int
    resize_px: int
    image_px: int
    excluded: frozenset[str]
    cache: DecodedCache

    def make(self, sample: TarSample, epoch: int) -> CopyPair | Unusable:
        """The pair, or why there is none: text (where its notes cannot be read), excluded or image."""
        captions = usable_captions(sample, self.excluded)
        if isinstance(captions, Unusable):
            return captions
        pixels = resized_picture(sample, self.resize_px, self.cache)
        if isinstance(pixels, Unusable):
            return pixels
        copy = augment(pixels, draw("copy", self.seed, epoch, sample.key))
        return CopyPair(sample.key, squeeze(pixels, self.image_px), squeeze(copy, self.image_px))


@dataclass(frozen=True)
class DetectorObjective:
    """See train.objective.Objective. Inputs: uint8 pictures [B, 3, S, S], and copies of them."""

    config: DetectorTrainingConfig

    def build(self) -> Detector:
        return Detector(self.config.model, self.config.temperature)

    def maker(self, excluded: frozenset[str]) -> CopyPairMaker:
        stream = self.config.stream
        cache = DecodedCache(stream.cache_decoded_mb << 20)
        return CopyPairMaker(self.config.seed, stream.resize_px, self.config.model.image_px, excluded, cache)

    def collate(self, examples: Sequence[CopyPair]) -> tuple[Tensor, ...]:
        sides = ([example.pixels for example in examples], [example.copy for example in examples])
        return tuple(torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2).contiguous() for side in sides)

    def blank(self) -> tuple[Tensor, ...]:
        image = torch.zeros(1, 3, self.config.model.image_px, self.config.model.image_px, dtype=torch.uint8)
        return image, image

    def prepare(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(normalize_pixels(pixels) for pixels in inputs)

    def after_step(self, model: nn.Module) -> None:
        """Nothing has to be held."""

    def measures(self, model: nn.Module) -> dict[str, float]:
        return {}
