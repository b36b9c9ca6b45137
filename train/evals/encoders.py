"""What the evaluations ask of a model, and how they feed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor


class ImageTextEncoder(Protocol):
    """Unit vectors of pictures and of token ids, and picture features before the projection; `Clip` is one."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def train(self, mode: bool = True) -> Any: ...

    def encode_image(self, image: Tensor) -> Tensor: ...

    def encode_text(self, tokens: Tensor) -> Tensor: ...

    def image_features(self, image: Tensor) -> Tensor: ...


class TextTokenizer(Protocol):
    """Texts to token ids [B, context_length]; `Tokenizer` is one."""

    def encode(self, texts: list[str]) -> Tensor: ...


@contextmanager
def evaluation_mode(model: ImageTextEncoder) -> Iterator[None]:
    """No gradients and no training behaviour inside; afterwards the model is as it was."""
    was_training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def batches(images: Iterable[Tensor], batch_images: int, device: torch.device) -> Iterator[Tensor]:
    """Stacks [up to batch_images, 3, S, S] on the device from single pictures [3, S, S]; reads as it goes."""
    remaining = iter(images)
    while group := list(islice(remaining, batch_images)):
        yield torch.stack(group).to(device)
