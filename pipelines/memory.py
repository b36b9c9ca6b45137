"""How much memory a run takes with all its processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

EVERY_S = 1.0


class PeakMemory:
    """The largest sum of the proportional set sizes (shared pages counted once) of a process tree, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()

    def watch(self) -> None:
        """Samples until stopped."""
        me = psutil.Process()
        while not self._stop.wait(EVERY_S):
            self.bytes = max(self.bytes, sum(map(_size, [me, *me.children(recursive=True)])))

    def stop(self) -> None:
        """Ends the sampling."""
        self._stop.set()


def _size(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measures while the context is open."""
    peak = PeakMemory()
    thread = threading.Thread(target=peak.watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.stop()
        thread.join()
