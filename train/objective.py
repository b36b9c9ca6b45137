"""What a training learns: its network, its examples, and what the loop must know of them. The stream, the loss, the
optimizer, checkpoints, metrics and the launch are the same for all."""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from openwit.shards.samples import TarSample, Unusable
from train.config import AnyTrainingConfig


class Keyed(Protocol):
    """An example of any kind: it knows the key of its sample."""

    @property
    def key(self) -> str: ...


CPU = torch.device("cpu")
E = TypeVar("E", bound=Keyed)
E_co = TypeVar("E_co", bound=Keyed, covariant=True)
E_contra = TypeVar("E_contra", bound=Keyed, contravariant=True)


class BatchBuilder(Protocol[E_contra]):
    """A batch in the making. Threads add examples at their places; it keeps nothing of them that it does not need."""

    def add(self, place: int, example: E_contra) -> str:
        """The example's key. Once for each place of the batch."""
        ...

    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the batch as they are kept and moved, images as uint8; once all places are taken."""
        ...


class ExampleBuilder(Protocol[E_co]):
    """Builds examples; what it draws depends on (seed, epoch, key, copy) alone."""

    @property
    def seed(self) -> int: ...

    def build(self, sample: TarSample, epoch: int) -> E_co | Unusable:
        """The example, or why there is none."""
        ...


class Objective(Protocol[E]):
    """Pairs of things that belong together, and a network that brings them near each other."""

    @property
    def config(self) -> AnyTrainingConfig: ...

    def build(self) -> nn.Module:
        """A new network, its weights drawn from torch's global generator. Of the prepared inputs it makes unit vectors
        [B, D] of both sides, and the logit scale."""
        ...

    def warm_start(self, model: nn.Module) -> None:
        """Gives a new network other weights to begin with, if the config says so. A resumed training does not call
        it."""
        ...

    def example_builder(self, excluded: frozenset[str], device: torch.device = CPU) -> ExampleBuilder[E]:
        """Builds the examples of one rank, without the captions of these uids; `device` is where stream.decoder=gpu
        decodes."""
        ...

    def batch_builder(self, num_pairs: int, pin: bool = False) -> BatchBuilder[E]:
        """For the next batch; `pin`: its images are made in memory that a GPU fetches while others work."""
        ...

    def blank(self) -> tuple[Tensor, ...]:
        """Inputs of one pair that shows nothing."""
        ...

    def move(self, inputs: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
        """A batch's inputs where the network wants them: on the device, or left on the CPU."""
        ...

    def prepare(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the network takes, from inputs that were moved."""
        ...

    def after_step(self, model: nn.Module) -> None:
        """Holds the weights where they must stay."""
        ...

    def measures(self, model: nn.Module) -> dict[str, float]:
        """What metrics tell of the weights."""
        ...
