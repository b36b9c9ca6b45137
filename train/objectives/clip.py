"""CLIP's objective: an image and its caption (paper, section 2.3).

Which patches of its images a step sees: a random subset, by counters (Li et al. 2022, FLIP, arXiv 2212.00794).

Shapes: B images · P patches of one · K kept of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.clip import Clip
from models.compiling import require_compiler
from models.config import VisionTransformerConfig
from models.preprocess import normalize_pixels
from models.tokenizer.tokenizer import Tokenizer
from openwit.kernels.hashing import splitmix64
from train.config import PretrainConfig
from train.data.batches import BatchImages, DeviceImages, TensorPool
from train.data.decode import AnyPixels, decode_resized
from train.data.examples import ClipExampleBuilder, DecodedCache, Example
from train.objective import CPU
from train.objectives.warm_start import warm_start


def number_kept(num_patches: int, dropped: float) -> int:
    """How many patches of an image a step sees if that share is dropped; at least one."""
    return max(1, round((1 - dropped) * num_patches))


def kept_patches(seeds: Sequence[int], num_patches: int, num_kept: int) -> npt.NDArray[np.int64]:
    """[B, K], rising in each row: the patches whose numbers are the lowest of P that an image's seed of 64 bits alone
    draws."""
    drawn_BP = splitmix64(np.array(seeds, np.uint64), num_patches)
    return np.sort(np.argpartition(drawn_BP, num_kept - 1, axis=1)[:, :num_kept], axis=1)


@dataclass(frozen=True)
class ClipObjective:
    """See train.objective.Objective. Inputs: uint8 images [B, 3, S, S] and token ids [B, L]; with patch dropout, the
    patches kept, int64 [B, K]."""

    config: PretrainConfig

    @cached_property
    def _pool(self) -> TensorPool:
        return TensorPool()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.of(self.config.model.text, self.config.merges)

    def build(self) -> Clip:
        model = Clip(self.config.model)
        model.layout = self.config.text_layout
        model.set_checkpointing(self.config.checkpoint_blocks)
        if self.config.compile:
            require_compiler()
        model.set_compiling(self.config.compile)
        return model

    def warm_start(self, model: nn.Module) -> None:
        if self.config.initial:
            warm_start(cast(Clip, model), self.config.initial)

    def example_builder(self, excluded: frozenset[str], device: torch.device = CPU) -> ClipExampleBuilder:
        stream = self.config.stream
        decode: Callable[..., AnyPixels] = decode_resized
        if stream.decoder == "gpu":
            from train.data.gpu_decode import decode_resized_on  # torchvision takes a second to import

            decode = partial(decode_resized_on, device)
        image_px, drops_patches = self.config.model.vision.image_px, self.config.patch_dropout > 0
        return ClipExampleBuilder(
            self.config.seed, stream.resize_px, image_px, excluded, DecodedCache.of(stream, decode), drops_patches
        )

    def batch_builder(self, num_pairs: int, pin: bool = False) -> ClipBatchBuilder:
        if self.config.stream.decoder == "gpu":
            return ClipBatchBuilder(self, num_pairs, DeviceImages(num_pairs))
        image_px = self.config.model.vision.image_px
        return ClipBatchBuilder(
            self, num_pairs, BatchImages(self._pool.acquire((num_pairs, image_px, image_px, 3), pin))
        )

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """int64 [B, L]."""
        return self._tokenizer.encode(captions)

    def kept(self, seeds: Sequence[int]) -> tuple[Tensor, ...]:
        """int64 [B, K], the patches that patch dropout leaves; nothing without it."""
        vision = self.config.model.vision
        if not self.config.patch_dropout or not isinstance(vision, VisionTransformerConfig):
            return ()
        num_kept = number_kept(vision.num_patches, self.config.patch_dropout)
        return (torch.from_numpy(kept_patches(seeds, vision.num_patches, num_kept)),)

    def blank(self) -> tuple[Tensor, ...]:
        image_px = self.config.model.vision.image_px
        image = torch.zeros(1, 3, image_px, image_px, dtype=torch.uint8)
        return image, torch.ones(1, 3, dtype=torch.int64), *self.kept([0])

    def move(self, inputs: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
        image, tokens, *kept = inputs  # tokens stay: the text tower learns their lengths without waiting for a GPU
        return image.to(device, non_blocking=True), tokens, *(part.to(device, non_blocking=True) for part in kept)

    def prepare(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        image, *others = inputs
        return normalize_pixels(image, self.config.model.preprocess), *others

    def after_step(self, model: nn.Module) -> None:
        cast(Clip, model).clamp_logit_scale(self.config.max_logit_scale)

    def measures(self, model: nn.Module) -> dict[str, float]:
        return {"logit_scale": cast(Clip, model).logit_scale.exp().item()}


class ClipBatchBuilder:
    """See train.objective.BatchBuilder."""

    def __init__(self, objective: ClipObjective, num_pairs: int, images: BatchImages | DeviceImages) -> None:
        self._objective, self._images = objective, images
        self._captions, self._patches_seeds = [""] * num_pairs, [0] * num_pairs

    def add(self, place: int, example: Example) -> str:
        self._images.add(place, example.pixels)
        self._captions[place] = example.caption
        self._patches_seeds[place] = example.patches_seed
        return example.key

    def inputs(self) -> tuple[Tensor, ...]:
        tokens, kept = self._objective.tokens(self._captions), self._objective.kept(self._patches_seeds)
        return self._images.batch(), tokens, *kept
