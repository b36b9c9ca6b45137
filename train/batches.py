"""This rank's part of every global batch, made ahead by a thread.

Shapes: B pairs of this rank.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType

from torch import Tensor

from train.config import AnyTrainingConfig
from train.lanes import LaneCursor, LaneReader
from train.objective import Keyed, objective_of
from train.order import deal, lanes_of_rank, steps_per_epoch
from train.shards import DataSet


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


class Batches:
    """An endless iterator of batches from a cursor on. Use it as a context: its threads end with it."""

    def __init__(self, data_set: DataSet, config: AnyTrainingConfig, rank: int, num_ranks: int, start: Cursor) -> None:
        """Raises ConfigError where the data set is smaller than a global batch."""
        stream = config.stream
        self.data_set, self.config, self.start = data_set, config, start
        self.lanes = lanes_of_rank(rank, num_ranks, stream.num_lanes)
        self.steps_per_epoch = steps_per_epoch(
            data_set.num_samples, len(data_set.excluded), config.batch_pairs, stream.num_lanes
        )
        self.objective = objective_of(config)
        self.maker = self.objective.maker(data_set.excluded)
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(stream.read_ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Batches:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        """The next batch. Raises WorkError where a lane has no usable sample left."""
        ready = self._ready.get()
        if isinstance(ready, BaseException):
            raise ready
        return ready

    def _fill(self) -> None:
        try:
            with ThreadPoolExecutor(self.config.stream.threads) as pool:
                for batch in self._produce(pool):
                    if not self._hand_over(batch):
                        return
        except BaseException as error:  # raised where the batch was wanted
            self._hand_over(error)

    def _hand_over(self, item: Batch | BaseException) -> bool:
        """False when nobody wants it any more."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

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
                parts = list(pool.map(lambda reader: reader.take(per_lane), readers))
                cursors = {reader.number: reader.cursor for reader in readers}
                notices = tuple(notice for reader in readers for notice in reader.take_notices())
                yield self._collate([e for part in parts for e in part], epoch, Cursor(step, cursors), notices)

    def _open_lanes(self, epoch: int, cursors: dict[int, LaneCursor]) -> list[LaneReader[Keyed]]:
        stream = self.config.stream
        dealt = deal([s.num_samples for s in self.data_set.shards], stream.num_lanes, self.config.seed, epoch)
        return [
            LaneReader(self.data_set, self.maker, dealt[lane], stream.shuffle_window, (epoch, lane), cursors[lane])
            for lane in self.lanes
        ]

    def _collate(self, examples: list[Keyed], epoch: int, cursor: Cursor, notices: tuple[str, ...]) -> Batch:
        keys = tuple(example.key for example in examples)
        return Batch(self.objective.collate(examples), keys, epoch, cursor, notices)
