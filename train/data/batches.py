"""A batch, what a loader needs to make it, and the memory in which its images come together.

Memory is used again: the system takes longer to give fresh memory than a copy to it takes.

Shapes: B pairs of this rank, images of S pixels a side.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data.dataset import DataSet
from train.data.decode import AnyPixels
from train.data.lanes import LaneCursor
from train.objective import CPU, Objective

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cursor:
    """Where the stream stands after `step` steps: what a checkpoint holds of the data. `lanes` may be those of one
    rank, or of all."""

    step: int = 0
    lanes: dict[int, LaneCursor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """B pairs of this rank: the inputs of its objective, and keys; `cursor` is where to go on after it, `notices` name
    damaged samples met on the way."""

    inputs: tuple[Tensor, ...]
    keys: tuple[str, ...]
    epoch: int
    cursor: Cursor
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """Which batches a loader makes: one rank's part of every global batch after `start`."""

    data_set: DataSet
    objective: Objective[Any]  # builds the examples and the batches; its config has the stream's
    rank: int = 0
    num_ranks: int = 1
    start: Cursor = Cursor()
    device: torch.device = CPU  # the one that learns


class TensorPool:
    """Memory for batches, given again when no tensor that lies in it is left. One thread asks; any may drop what it
    has."""

    def __init__(self) -> None:
        self._free: dict[Shape, list[npt.NDArray[np.uint8]]] = {}

    def acquire(self, shape: Shape, pin: bool = False) -> Tensor:
        """uint8 of that shape, not set; `pin`: in memory that a GPU fetches while others work, which torch itself uses
        again."""
        if pin:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        free = self._free.setdefault(shape, [])
        memory = free.pop() if free else np.empty(shape, np.uint8)
        acquired = memory.view()  # the tensor and all its views keep this one object
        weakref.finalize(acquired, free.append, memory)
        return torch.from_numpy(acquired)


class BatchImages:
    """B images, each added at its place by any thread."""

    def __init__(self, memory_BHWC: Tensor) -> None:
        self._memory_BHWC = memory_BHWC
        self._rows = memory_BHWC.numpy()

    def add(self, place: int, square: AnyPixels) -> None:
        """Copies uint8 [S, S, 3] to its place."""
        self._rows[place] = square

    def batch(self) -> Tensor:
        """uint8 [B, 3, S, S], channels last in memory."""
        return self._memory_BHWC.permute(0, 3, 1, 2)


class DeviceImages:
    """B images that a device decoded; their batch is on it too."""

    def __init__(self, num_images: int) -> None:
        self._squares = [torch.empty(0)] * num_images

    def add(self, place: int, square: AnyPixels) -> None:
        """Keeps uint8 [S, S, 3], a tensor on the device."""
        self._squares[place] = torch.as_tensor(square)

    def batch(self) -> Tensor:
        """uint8 [B, 3, S, S], channels last in memory."""
        return torch.stack(self._squares).permute(0, 3, 1, 2)
