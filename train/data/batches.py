"""This rank's part of every global batch, ready before it is asked for.

Shapes: B pairs of this rank.
"""

from __future__ import annotations

from types import TracebackType

import torch

from train.config import AnyTrainingConfig
from train.data.dataset import DataSet
from train.data.loader import Batch, Cursor, LoaderThreads, Prefetcher
from train.data.workers import LoaderWorkers
from train.objective import CPU


class Batches:
    """An endless iterator of batches from a cursor on. Use it as a context: its threads and processes end with it."""

    def __init__(
        self,
        data_set: DataSet,
        config: AnyTrainingConfig,
        rank: int,
        num_ranks: int,
        start: Cursor,
        device: torch.device = CPU,
    ) -> None:
        """The device is the one that learns. Raises ConfigError where the data set is smaller than a global batch."""
        maker = LoaderWorkers if config.stream.processes > 1 else LoaderThreads
        self.steps_per_epoch = data_set.steps_per_epoch(config.batch_pairs, config.stream.num_lanes)
        self._ahead = Prefetcher(maker(data_set, config, rank, num_ranks, start, device), config.stream.read_ahead)

    def __enter__(self) -> Batches:
        self._ahead.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.__exit__(kind, value, trace)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        """The next batch. Raises WorkError where a lane has no usable sample left."""
        batch = next(self._ahead)
        for part in batch.inputs:
            if part.is_cuda:  # it was made in another stream, which may not have its memory back too early
                part.record_stream(torch.cuda.current_stream(part.device))
        return batch
