"""The loader: one rank's part of every global batch, ready before the loop asks for it.

A member of a tar becomes part of a batch in eight files:

    openwit/shards/tar.py         reads the members of a tar and puts samples together
    train/data/lanes.py           one lane's samples, shuffled in a window; unusable ones are replaced
    train/data/examples.py        the sample's image and one of its captions
    train/data/decode.py          the image at the wanted size, and its crop, by
    openwit/images                the one decoder of the house
    train/objectives/clip.py      the batch builder: images side by side, captions as token ids
    train/data/batches.py         the memory of the batch, and the batch
    train/data/loader.py          here: lanes in parallel, batch by batch

Beside them stand `train.data.order` and `train.data.dataset`, which say which samples of which tar a lane has (pure
functions and the manifest), `openwit.storage.readahead`, which opens tars of object stores, and `train.data.workers`,
where a rank's lanes are read by several processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

import torch
from torch import Tensor

from openwit.shards.tar import BufferPool
from openwit.storage.readahead import TarFiles
from train.data.batches import Batch, Cursor, LoaderSpec
from train.data.lanes import LaneCursor, LaneReader, LaneRows
from train.data.order import lanes_of_rank
from train.data.workers import LoaderWorkers, Prefetcher
from train.objective import BatchBuilder, Keyed


class BatchLoader:
    """An endless iterator of batches; it measures how long it is waited for. Use it as a context: its threads and
    processes end with it."""

    def __init__(self, spec: LoaderSpec) -> None:
        """Raises ConfigError where the data set is smaller than a global batch."""
        config = spec.objective.config
        self.steps_per_epoch = spec.data_set.steps_per_epoch(config.batch_pairs, config.stream.num_lanes)
        source = LoaderWorkers(spec, LoaderThreads) if config.stream.processes > 1 else LoaderThreads(spec)
        self._prefetcher = Prefetcher(source, config.stream.read_ahead)
        self._waited_s = 0.0

    def __enter__(self) -> BatchLoader:
        self._prefetcher.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._prefetcher.__exit__(kind, value, trace)

    def __iter__(self) -> BatchLoader:
        return self

    def __next__(self) -> Batch:
        """The next batch. Raises WorkError where a lane has no usable sample left."""
        before = time.perf_counter()
        batch = next(self._prefetcher)
        self._waited_s += time.perf_counter() - before
        for part in batch.inputs:
            if part.is_cuda:  # it was made in another stream, which may not have its memory back too early
                part.record_stream(torch.cuda.current_stream(part.device))
        return batch

    def lap_waited_s(self) -> float:
        """Seconds that its batches were waited for since the last call."""
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s


class LoaderThreads:
    """Makes batches in sequence, without end, by a pool of threads of this process."""

    def __init__(self, spec: LoaderSpec) -> None:
        """Raises ConfigError where the data set is smaller than a global batch."""
        self.spec, self.config = spec, spec.objective.config
        stream = self.config.stream
        self.lanes = lanes_of_rank(spec.rank, spec.num_ranks, stream.num_lanes)
        self.steps_per_epoch = spec.data_set.steps_per_epoch(self.config.batch_pairs, stream.num_lanes)
        self.pool = BufferPool()
        self.files = TarFiles(stream.remote_ahead_mb << 20, stream.remote_patience_s)
        self.example_builder = spec.objective.example_builder(spec.data_set.excluded, spec.device)
        self._for_gpu = spec.device.type == "cuda"
        decodes_there = self._for_gpu and stream.decoder == "gpu"
        self._stream = torch.cuda.Stream(spec.device) if decodes_there else None

    def batches(self) -> Iterator[Batch]:
        """All of them. Raises WorkError where a lane has no usable sample left."""
        self._enter_stream()
        with ThreadPoolExecutor(self.config.stream.threads, initializer=self._enter_stream) as threads:
            yield from self._batches(threads)

    def close(self) -> None:
        """Ends at once what waits for a store."""
        self.files.close()

    def _enter_stream(self) -> None:
        """What this thread does on the GPU goes beside the training's own work."""
        if self._stream is not None:
            torch.cuda.set_stream(self._stream)

    def _batches(self, threads: ThreadPoolExecutor) -> Iterator[Batch]:
        per_lane = self.config.batch_pairs // self.config.stream.num_lanes
        step = self.spec.start.step
        cursors = {lane: self.spec.start.lanes.get(lane, LaneCursor()) for lane in self.lanes}
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            if not done:
                cursors = {lane: cursor.next_epoch() for lane, cursor in cursors.items()}
            readers = self._open_lanes(epoch, cursors)
            while step < (epoch + 1) * self.steps_per_epoch:
                step += 1
                builder = self.spec.objective.batch_builder(len(readers) * per_lane, pin=self._for_gpu)
                firsts = range(0, len(readers) * per_lane, per_lane)
                parts = threads.map(partial(_add_part, builder, per_lane), readers, firsts)
                keys = tuple(key for part in parts for key in part)
                cursors = {reader.number: reader.cursor for reader in readers}
                notices = tuple(notice for reader in readers for notice in reader.take_notices())
                yield Batch(self._inputs(builder), keys, epoch, Cursor(step, cursors), notices)

    def _open_lanes(self, epoch: int, cursors: dict[int, LaneCursor]) -> list[LaneReader[Keyed]]:
        data_set, stream = self.spec.data_set, self.config.stream
        dealt = data_set.lanes(stream.num_lanes, self.config.seed, epoch)
        readers = []
        for lane in self.lanes:
            rows = LaneRows(data_set, dealt[lane], self.files, self.pool)
            readers.append(LaneReader(rows, self.example_builder, stream.shuffle_window, (epoch, lane), cursors[lane]))
        return readers

    def _inputs(self, builder: BatchBuilder[Keyed]) -> tuple[Tensor, ...]:
        inputs = builder.inputs()
        if self._for_gpu:
            inputs = tuple(part if part.is_cuda or part.is_pinned() else part.pin_memory() for part in inputs)
        if self._stream is not None:
            self._stream.synchronize()
        return inputs


def _add_part(builder: BatchBuilder[Keyed], num_examples: int, reader: LaneReader[Keyed], first: int) -> list[str]:
    """The keys of the lane's next examples, added to the batch from the `first` place on. None is kept while the next
    is built: its image's memory is used again, and still in the processor's cache."""
    return [builder.add(place, next(reader)) for place in range(first, first + num_examples)]
