"""What the evaluations ask of a model, and how they feed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class ImageTextEncoder(Protocol):
    """Unit vectors of images and of token ids, and image features before the projection; `Clip` is one."""

    training: bool

    @property
    def device(self) -> torch.device: ...

    def train(self, mode: bool = True) -> Any: ...

    def encode_image(self, image: Tensor) -> Tensor: ...

    def encode_text(self, tokens: Tensor) -> Tensor: ...

    def image_features(self, image: Tensor) -> Tensor: ...


class Team(Protocol):
    """The processes that evaluate together, each with the same model; `Ranks` is one."""

    @property
    def rank(self) -> int: ...

    @property
    def num_ranks(self) -> int: ...

    def gather(self, value: T) -> list[T]: ...


@dataclass(frozen=True)
class Alone:
    """A team of this process."""

    rank: int = 0
    num_ranks: int = 1

    def gather(self, value: T) -> list[T]:
        return [value]


ALONE = Alone()


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
    """Stacks [up to batch_images, 3, S, S] on the device from single images [3, S, S]; reads as it goes."""
    remaining = iter(images)
    while group := list(islice(remaining, batch_images)):
        yield torch.stack(group).to(device)


def own_places(num: int, batch_images: int, team: Team) -> list[int]:
    """Which of `num` images this process encodes. Batches are dealt out whole, so that each image has the company,
    and each sum the order, that it has in one process."""
    return _places(num, batch_images, team.rank, team.num_ranks)


def joined(rows: Tensor, num: int, batch_images: int, team: Team) -> Tensor:
    """[num, ...] on the CPU: the rows of all processes' `own_places`, in the order of the images."""
    parts = [part for part in team.gather(rows.cpu()) if len(part)]
    if not parts:
        return rows.cpu()
    places = [place for rank in range(team.num_ranks) for place in _places(num, batch_images, rank, team.num_ranks)]
    dealt = torch.cat(parts)
    whole = torch.empty_like(dealt)
    whole[torch.tensor(places)] = dealt
    return whole


def _places(num: int, batch_images: int, rank: int, num_ranks: int) -> list[int]:
    return [place for place in range(num) if place // batch_images % num_ranks == rank]
