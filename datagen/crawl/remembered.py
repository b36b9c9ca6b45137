"""A cache with a size and a time limit that computes each value once, however many threads ask."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Futures by key. At most `size` are kept, least recently asked first to go; a value is good for `keep_s`
    seconds, an exception for `keep_error_s`."""

    def __init__(self, size: int, keep_s: float, keep_error_s: float) -> None:
        self.size, self.keep_s, self.keep_error_s = size, keep_s, keep_error_s
        self._entries: OrderedDict[K, tuple[float, Future[V]]] = OrderedDict()
        self._lock = threading.Lock()

    def future(self, key: K, start: Callable[[Future[V]], object]) -> Future[V]:
        """The key's future; where there is none, `start` is called to see to it that a new one is settled."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and not self._is_stale(*entry):
                self._entries.move_to_end(key)
                return entry[1]
            future: Future[V] = Future()
            self._entries[key] = time.monotonic(), future
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        start(future)
        return future

    def _is_stale(self, made: float, future: Future[V]) -> bool:
        if not future.done():
            return False
        return time.monotonic() - made > (self.keep_error_s if future.exception() else self.keep_s)


def settle(future: Future[V], make: Callable[[], V]) -> None:
    """Gives the future what `make` returns or raises."""
    try:
        future.set_result(make())
    except BaseException as error:  # handed to whoever waits
        future.set_exception(error)
