"""Loader workers: processes that read and decode for a rank, each as if it were a rank of its own. For a GPU that takes
more pairs than the threads of one process can make, whose interpreter lock lets some thousands a second through.

A worker copies its part of a batch to memory that it shares with the rank, which joins the parts. It has two slots
there: one is filled while the other is read.

Shapes: B pairs of the rank, b of each of its P workers.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import accumulate, chain, count
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import torch
from torch import Tensor

from openwit.errors import OpenwitError, WorkError
from train.config import AnyTrainingConfig
from train.data.batch_images import TensorPool
from train.data.dataset import DataSet
from train.data.loader import Batch, Cursor, LoaderThreads, Prefetcher
from train.objective import CPU

NUM_SLOTS = 2
ALIGNED = 64
READ = b"read"  # what a worker receives when one of its slots is free again

Layout = tuple[torch.dtype, tuple[int, ...], tuple[int, ...]]  # of a tensor: its type, shape and strides
Slot = tuple[Tensor, ...]


class LoaderWorkers:
    """The batches that one LoaderThreads would make, made by several in processes of their own."""

    def __init__(
        self,
        data_set: DataSet,
        config: AnyTrainingConfig,
        rank: int,
        num_ranks: int,
        start: Cursor,
        device: torch.device = CPU,
    ) -> None:
        """The device is the one that learns."""
        self._per_lane = config.batch_pairs // config.stream.num_lanes
        self._for_gpu = device.type == "cuda"
        self._pool = TensorPool()
        self._lock, self._is_closed = threading.Lock(), False
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(config.stream.processes)]
        self._links = [here for here, _ in pipes]
        self._ends = [there for _, there in pipes]
        own = _own_config(config)
        self._processes = [
            context.Process(
                target=_work,
                args=(there, data_set, own, rank + number * num_ranks, num_ranks * len(pipes), start),
                daemon=True,
            )
            for number, there in enumerate(self._ends)
        ]

    def batches(self) -> Iterator[Batch]:
        """All of them. Raises what a worker raised, or WorkError where one died."""
        self._start()
        with _death_as_work_error():
            files = [(_receive(link), recv_handle(link)) for link in self._links]
        all_slots = [_map_slots(layouts, handle) for layouts, handle in files]
        for turn in count():
            with _death_as_work_error():
                parts: list[Batch] = [_receive(link) for link in self._links]
            inputs = tuple(map(self._join, zip(*(slots[turn % NUM_SLOTS] for slots in all_slots), strict=True)))
            with _death_as_work_error():
                for link in self._links:
                    link.send_bytes(READ)
            yield self._whole(inputs, parts)

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            self._is_closed = True
        for process in self._processes:
            if process.pid is not None:
                process.kill()
                process.join()

    def _start(self) -> None:
        with self._lock:
            if self._is_closed:
                raise CancelledError
            for process, end in zip(self._processes, self._ends, strict=True):
                process.start()
                end.close()  # the worker has its own, with which the link ends

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        """[B, …] of the workers' [b, …]: of each in turn one lane's rows, as one process would have them."""
        row = parts[0].numel() // len(parts[0])
        num_bytes = sum(part.nbytes for part in parts)
        whole = self._pool.acquire((num_bytes,), self._for_gpu).view(parts[0].dtype)
        lanes = whole.view(-1, len(parts), self._per_lane * row)
        for number, part in enumerate(parts):
            lanes[:, number] = part.as_strided((part.numel(),), (1,)).view(-1, self._per_lane * row)
        return whole.as_strided((whole.numel() // row, *parts[0].shape[1:]), parts[0].stride())

    def _whole(self, inputs: Slot, parts: Sequence[Batch]) -> Batch:
        size = self._per_lane
        by_lane = [[part.keys[first : first + size] for first in range(0, len(part.keys), size)] for part in parts]
        keys = tuple(key for turn in zip(*by_lane, strict=True) for lane in turn for key in lane)
        lanes = {lane: at for part in parts for lane, at in part.cursor.lanes.items()}
        cursor = Cursor(parts[0].cursor.step, dict(sorted(lanes.items())))
        return Batch(inputs, keys, parts[0].epoch, cursor, tuple(notice for part in parts for notice in part.notices))


def _own_config(config: AnyTrainingConfig) -> AnyTrainingConfig:
    """The config of each worker."""
    stream = config.stream
    cache_mb = stream.cache_decoded_mb // stream.processes
    return replace(config, stream=replace(stream, processes=1, cache_decoded_mb=cache_mb))


@contextlib.contextmanager
def _death_as_work_error() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, RuntimeError):  # the last is recv_handle's
        raise WorkError(
            "a loader worker was killed, perhaps for its memory (stream.processes, "
            "stream.shuffle_window); the same command goes on"
        ) from None


def _receive(link: Connection) -> Any:
    """What a worker sends next. Raises what it raised."""
    message = link.recv()
    if isinstance(message, OpenwitError):
        raise message
    return message


def _map_slots(layouts: Sequence[Layout], handle: int) -> list[Slot]:
    """The slots in the file of that handle, which is closed."""
    sizes = _sizes(layouts)
    memory = mmap.mmap(handle, NUM_SLOTS * sum(sizes))
    os.close(handle)
    starts = list(accumulate(sizes * NUM_SLOTS, initial=0))
    tensors = [
        torch.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=start).as_strided(shape, strides)
        for (dtype, shape, strides), start in zip(list(layouts) * NUM_SLOTS, starts, strict=False)
    ]
    return [tuple(tensors[first : first + len(layouts)]) for first in range(0, len(tensors), len(layouts))]


def _sizes(layouts: Sequence[Layout]) -> list[int]:
    """Bytes of each tensor, rounded up."""
    return [-(-math.prod(shape) * dtype.itemsize // ALIGNED) * ALIGNED for dtype, shape, _ in layouts]


# What follows runs in a process of its own.


def _work(
    link: Connection, data_set: DataSet, config: AnyTrainingConfig, rank: int, num_ranks: int, start: Cursor
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the rank says when to end
    torch.set_num_threads(1)
    free = threading.Semaphore(NUM_SLOTS)
    threading.Thread(target=_listen, args=(link, free), daemon=True).start()
    try:
        with Prefetcher(LoaderThreads(data_set, config, rank, num_ranks, start), 1) as batches:
            _send(link, free, batches)
    except OpenwitError as error:
        link.send(error)
    except Exception as error:
        traceback.print_exc()
        link.send(WorkError(f"{type(error).__name__}: {error}"))


def _listen(link: Connection, free: threading.Semaphore) -> None:
    """Ends the process when the rank does."""
    with contextlib.suppress(EOFError, OSError):
        while link.recv_bytes() == READ:
            free.release()
    os._exit(0)


def _send(link: Connection, free: threading.Semaphore, batches: Iterator[Batch]) -> None:
    first = next(batches)
    layouts = [_layout(part) for part in first.inputs]
    handle = os.memfd_create("openwit-batches")  # not in /dev/shm, which containers keep small
    os.ftruncate(handle, NUM_SLOTS * sum(_sizes(layouts)))
    link.send(layouts)
    send_handle(link, handle, os.getppid())
    slots = _map_slots(layouts, handle)
    for turn, batch in enumerate(chain([first], batches)):
        free.acquire()
        for kept, part in zip(slots[turn % NUM_SLOTS], batch.inputs, strict=True):
            kept.copy_(part)
        link.send(replace(batch, inputs=()))


def _layout(part: Tensor) -> Layout:
    """Of a tensor without gaps whose first dimension is the outermost."""
    return part.dtype, tuple(part.shape), (part.numel() // len(part), *part.stride()[1:])
