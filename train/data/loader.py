"""One rank's part of every global batch, made in sequence by a pool of threads.

Shapes: B pairs of this rank.

What a source gives without end, made ahead by a thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from openwit.shards.tar import BufferPool
from openwit.storage.readahead import TarFiles
from train.config import AnyTrainingConfig
from train.data.dataset import DataSet, LaneRows
from train.data.lanes import LaneCursor, LaneReader
from train.data.order import lanes_of_rank
from train.objective import CPU, BatchBuilder, Keyed, objective_of


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


class LoaderThreads:
    """Makes batches from a cursor on, without end."""

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
        stream = config.stream
        self.data_set, self.config, self.start = data_set, config, start
        self.lanes = lanes_of_rank(rank, num_ranks, stream.num_lanes)
        self.steps_per_epoch = data_set.steps_per_epoch(config.batch_pairs, stream.num_lanes)
        self.pool = BufferPool()
        self.files = TarFiles(stream.remote_ahead_mb << 20, stream.remote_patience_s)
        self.objective = objective_of(config)
        self.example_builder = self.objective.example_builder(data_set.excluded, device)
        self._for_gpu = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._for_gpu and stream.decoder == "gpu" else None  # type: ignore[no-untyped-call]

    def batches(self) -> Iterator[Batch]:
        """All of them. Raises WorkError where a lane has no usable sample left."""
        self._enter_stream()
        with ThreadPoolExecutor(self.config.stream.threads, initializer=self._enter_stream) as pool:
            yield from self._produce(pool)

    def close(self) -> None:
        """Ends at once what waits for a store."""
        self.files.close()

    def _enter_stream(self) -> None:
        """What this thread does on the GPU goes beside the training's own work."""
        if self._stream is not None:
            torch.cuda.set_stream(self._stream)

    def _produce(self, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        per_lane = self.config.batch_pairs // self.config.stream.num_lanes
        step = self.start.step
        cursors = {lane: self.start.lanes.get(lane, LaneCursor()) for lane in self.lanes}
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            if not done:
                cursors = {lane: cursor.next_epoch() for lane, cursor in cursors.items()}
            readers = self._open_lanes(epoch, cursors)
            while step < (epoch + 1) * self.steps_per_epoch:
                step += 1
                builder = self.objective.batch_builder(len(readers) * per_lane, pin=self._for_gpu)
                firsts = range(0, len(readers) * per_lane, per_lane)
                parts = pool.map(partial(_fill_part, builder, per_lane), readers, firsts)
                keys = tuple(key for part in parts for key in part)
                cursors = {reader.number: reader.cursor for reader in readers}
                notices = tuple(notice for reader in readers for notice in reader.take_notices())
                yield Batch(self._inputs(builder), keys, epoch, Cursor(step, cursors), notices)

    def _open_lanes(self, epoch: int, cursors: dict[int, LaneCursor]) -> list[LaneReader[Keyed]]:
        stream = self.config.stream
        dealt = self.data_set.lanes(stream.num_lanes, self.config.seed, epoch)
        return [
            LaneReader(rows, self.example_builder, stream.shuffle_window, (epoch, lane), cursors[lane])
            for lane, rows in (
                (lane, LaneRows(self.data_set, dealt[lane], self.files, self.pool)) for lane in self.lanes
            )
        ]

    def _inputs(self, builder: BatchBuilder[Keyed]) -> tuple[Tensor, ...]:
        inputs = builder.inputs()
        if self._for_gpu:
            inputs = tuple(part if part.is_cuda or part.is_pinned() else part.pin_memory() for part in inputs)
        if self._stream is not None:
            self._stream.synchronize()
        return inputs


def _fill_part(builder: BatchBuilder[Keyed], num_examples: int, reader: LaneReader[Keyed], first: int) -> list[str]:
    """The keys of the lane's next examples, added to the batch from the `first` place on. None is kept while
    the next is made: its image's memory is used again, and still in the processor's cache."""
    return [builder.add(place, next(reader)) for place in range(first, first + num_examples)]


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class BatchSource(Protocol[T_co]):
    """Makes items in the thread that asks; any thread may close it, which ends what it waits for."""

    def batches(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


class Prefetcher(Generic[T]):
    """The items of a source; some are ready before they are asked for. Use it as a context: its thread, and the source,
    end with it."""

    def __init__(self, source: BatchSource[T], num_ready: int) -> None:
        self._source = source
        self._ready: queue.Queue[T | BaseException] = queue.Queue(num_ready)
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Prefetcher[T]:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._source.close()
        self.thread.join()

    def __iter__(self) -> Prefetcher[T]:
        return self

    def __next__(self) -> T:
        """The next item. Raises what the source raised."""
        ready = self._ready.get()
        if isinstance(ready, BaseException):
            raise ready
        return ready

    def _fill(self) -> None:
        try:
            with closing(self._source.batches()) as items:  # type: ignore[type-var]
                for item in items:
                    if not self._hand_over(item):
                        return
        except BaseException as error:  # raised where the item was wanted
            self._hand_over(error)

    def _hand_over(self, item: T | BaseException) -> bool:
        """False when nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
