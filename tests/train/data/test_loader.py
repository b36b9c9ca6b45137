from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from train.data.loader import Prefetcher


class Counting:
    """Gives the numbers up to its end, then raises; its iterator says when it is closed."""

    def __init__(self, end: int = 1000) -> None:
        self.end, self.num_made, self.is_left, self.closed = end, 0, False, threading.Event()

    def batches(self) -> Iterator[int]:
        try:
            while self.num_made < self.end:
                self.num_made += 1
                yield self.num_made
            raise KeyError("no more")
        finally:
            self.is_left = True

    def close(self) -> None:
        self.closed.set()


class Waiting(Counting):
    """Waits without end until it is closed."""

    def batches(self) -> Iterator[int]:
        self.closed.wait()
        yield from ()


def test_items_come_in_sequence_then_what_the_source_raised() -> None:
    with Prefetcher(Counting(5), 2) as items:
        assert [next(items) for _ in range(5)] == [1, 2, 3, 4, 5]
        with pytest.raises(KeyError, match="no more"):
            next(items)


def test_no_more_are_made_ahead_than_it_may_hold_and_leaving_ends_the_source() -> None:
    source = Counting()
    with Prefetcher(source, 3) as items:
        while source.num_made < 4:
            time.sleep(0.001)
        time.sleep(0.05)
        assert source.num_made == 4  # three ready, and one in the hand
        next(items)
    assert source.closed.is_set()
    assert source.is_left
    assert not items.thread.is_alive()


def test_leaving_does_not_wait_for_a_source_that_waits() -> None:
    with Prefetcher(Waiting(), 1) as items:
        pass
    assert not items.thread.is_alive()
