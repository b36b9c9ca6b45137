"""The duplicate detector's objective: an image and a copy of it as the web makes them (paper, appendix C)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from models.compiling import require_compiler
from models.detector.augmentations import augment
from models.detector.descriptor import squeeze
from models.detector.detector import Detector
from models.preprocess import normalize_pixels
from openwit.shards.samples import TarSample, Unusable
from train.config import DetectorTrainingConfig
from train.data.batches import BatchImages, TensorPool
from train.data.decode import Pixels
from train.data.examples import DecodedCache, resized_image, usable_captions
from train.data.order import draw
from train.objective import CPU


@dataclass(frozen=True)
class CopyPair:
    """An image and its copy, both uint8 [S, S, 3]."""

    key: str
    pixels: Pixels
    copy: Pixels


@dataclass(frozen=True)
class CopyPairBuilder:
    """Builds pairs of images and copies; what it draws depends on (seed, epoch, key, copy) alone."""

    seed: int
    resize_px: int
    image_px: int
    excluded: frozenset[str]
    cache: DecodedCache

    def build(self, sample: TarSample, epoch: int) -> CopyPair | Unusable:
        """The pair, or why there is none: excluded or image."""
        captions = usable_captions(sample, self.excluded)
        if isinstance(captions, Unusable):
            return captions
        image = resized_image(sample, self.resize_px, self.cache)
        if isinstance(image, Unusable):
            return image
        pixels = np.asarray(image)
        copy = augment(pixels, draw("copy", self.seed, epoch, sample.mark))
        return CopyPair(sample.key, squeeze(pixels, self.image_px), squeeze(copy, self.image_px))


@dataclass(frozen=True)
class DetectorObjective:
    """See train.objective.Objective. Inputs: uint8 images [B, 3, S, S], and copies of them."""

    config: DetectorTrainingConfig

    def build(self) -> Detector:
        model = Detector(self.config.model, self.config.temperature)
        if self.config.compile:
            require_compiler()
        model.encoder.set_compiling(self.config.compile)
        return model

    def warm_start(self, model: nn.Module) -> None:
        """It begins with the weights that were drawn."""

    def example_builder(self, excluded: frozenset[str], device: torch.device = CPU) -> CopyPairBuilder:
        stream = self.config.stream
        image_px, cache = self.config.model.image_px, DecodedCache.of(stream)
        return CopyPairBuilder(self.config.seed, stream.resize_px, image_px, excluded, cache)

    @cached_property
    def _pool(self) -> TensorPool:
        return TensorPool()

    def batch_builder(self, num_pairs: int, pin: bool = False) -> CopyBatchBuilder:
        shape = (num_pairs, self.config.model.image_px, self.config.model.image_px, 3)
        return CopyBatchBuilder(
            BatchImages(self._pool.acquire(shape, pin)), BatchImages(self._pool.acquire(shape, pin))
        )

    def blank(self) -> tuple[Tensor, ...]:
        image = torch.zeros(1, 3, self.config.model.image_px, self.config.model.image_px, dtype=torch.uint8)
        return image, image

    def move(self, inputs: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
        return tuple(pixels.to(device, non_blocking=True) for pixels in inputs)

    def prepare(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(normalize_pixels(pixels) for pixels in inputs)

    def after_step(self, model: nn.Module) -> None:
        """Nothing has to be held."""

    def measures(self, model: nn.Module) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class CopyBatchBuilder:
    """See train.objective.BatchBuilder."""

    images: BatchImages
    copies: BatchImages

    def add(self, place: int, example: CopyPair) -> str:
        self.images.add(place, example.pixels)
        self.copies.add(place, example.copy)
        return example.key

    def inputs(self) -> tuple[Tensor, ...]:
        return self.images.batch(), self.copies.batch()
