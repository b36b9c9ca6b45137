"""How long a rank works by itself in a step, before it first waits for others: who is slow shows in nothing else, as
all ranks' steps end together."""

from __future__ import annotations

import time

import torch


class OwnTime:
    """Between `begin` and `end` of each step. On a GPU by events in its stream, so that no step waits to be timed."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._start_lap()

    def begin(self) -> None:
        """A step's own work begins."""
        self._began = self._mark()

    def end(self) -> None:
        """It is done; what follows waits for other ranks."""
        self._spans.append((self._began, self._mark()))

    def lap(self) -> float:
        """Mean seconds of the steps since the last lap; waits for the device to have done them."""
        spans = self._spans
        self._start_lap()
        return sum(_seconds(begin, end) for begin, end in spans) / max(1, len(spans))

    def _start_lap(self) -> None:
        self._spans: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def _mark(self) -> float | torch.cuda.Event:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _seconds(begin: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        end.synchronize()
        elapsed_ms: float = begin.elapsed_time(end)
        return elapsed_ms / 1000
    assert isinstance(begin, float)
    assert isinstance(end, float)
    return end - begin
