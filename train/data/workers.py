"""What makes batches ahead of the loop: a prefetching thread, and loader workers.

Workers are processes that read and decode for a rank, each as if it were a rank of its own: for a GPU that takes more
pairs than the threads of one process can make, whose interpreter lock lets some thousands a second through. A worker
copies its part of a batch to memory that it shares with the rank, which joins the parts. It has two slots there: one is
filled while the other is read.

Shapes: B pairs of the rank, b of each of its P workers.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import accumulate, chain, count
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from openwit.errors import OpenwitError, WorkError
from train.data.batches import Batch, Cursor, LoaderSpec, TensorPool
from train.objective import CPU

NUM_SLOTS = 2
ALIGNED = 64
READ = b"read"  # what a worker receives when one of its slots is free again

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Layout = tuple[torch.dtype, tuple[int, ...], tuple[int, ...]]  # of a tensor: its type, shape and strides
Slot = tuple[Tensor, ...]


class BatchSource(Protocol[T_co]):
    """Makes items in the thread that asks; any thread may close it, which ends what it waits for."""

    def batches(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


class Prefetcher(Generic[T]):
    """The items of a source, made by a thread; some are ready before they are asked for. Use it as a context: its
    thread, and the source, end with it."""

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
            with contextlib.closing(self._source.batches()) as items:  # type: ignore[type-var]
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


class LoaderWorkers:
    """The batches of one loader, made by several processes."""

    def __init__(self, spec: LoaderSpec, source_of: Callable[[LoaderSpec], BatchSource[Batch]]) -> None:
        """`source_of` is what each worker makes its part with; it is called in the worker's process."""
        config = spec.objective.config
        self._per_lane = config.batch_pairs // config.stream.num_lanes
        self._for_gpu = spec.device.type == "cuda"
        self._pool = TensorPool()
        self._lock, self._is_closed = threading.Lock(), False
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(config.stream.processes)]
        self._links = [here for here, _ in pipes]
        self._ends = [there for _, there in pipes]
        self._processes = []
        for number, there in enumerate(self._ends):
            rank, num_ranks = spec.rank + number * spec.num_ranks, spec.num_ranks * len(pipes)
            own = replace(spec, rank=rank, num_ranks=num_ranks, device=CPU)
            self._processes.append(context.Process(target=_work, args=(there, own, source_of), daemon=True))

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


def _work(link: Connection, spec: LoaderSpec, source_of: Callable[[LoaderSpec], BatchSource[Batch]]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the rank says when to end
    torch.set_num_threads(1)
    free = threading.Semaphore(NUM_SLOTS)
    threading.Thread(target=_listen, args=(link, free), daemon=True).start()
    try:
        with Prefetcher(source_of(spec), 1) as batches:
            _send(link, free, batches)
    except OpenwitError as error:
        link.send(error)
    except Exception as error:  # whatever it is, the rank must hear of it instead of waiting for this process
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
