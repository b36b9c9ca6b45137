"""An executor that runs tasks one after another in the test's own process: no start of workers, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from openwit.executors.attempt import Failure, run_attempt

T = TypeVar("T")
R = TypeVar("R")


class InProcess:
    """See openwit.executors.executor.Executor."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """Each task with what one attempt came to."""
        for task in tasks:
            yield task, run_attempt(function, task)
