"""What a source gives without end, made ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Makes items in the thread that asks; any thread may close it, which ends what it waits for."""

    def batches(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


class Ahead(Generic[T]):
    """The items of a source; some are ready before they are asked for. Use it as a context: its thread, and the source,
    end with it."""

    def __init__(self, source: Source[T], num_ready: int) -> None:
        self._source = source
        self._ready: queue.Queue[T | BaseException] = queue.Queue(num_ready)
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Ahead[T]:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._source.close()
        self.thread.join()

    def __iter__(self) -> Ahead[T]:
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
