"""One deadline for everything that a fetch does.

A limit on the bytes of fetched bodies that a worker holds at once.

How long to wait before the next try: exponential with full jitter, or what the server asks.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import random
import threading
import time
from collections.abc import Iterator


class Deadline:
    """`seconds` from now on; looking up, connecting, headers, body and redirects share them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises TimeoutError where there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def at_most(self, seconds: float) -> Deadline:
        """One of its own that ends in so many seconds, or where this one ends. Raises TimeoutError as `left` does."""
        return Deadline(min(seconds, self.left()))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is waited for politeness' sake meanwhile is not the server's fault, and does not count."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.at += time.monotonic() - started


class BodyBudget:
    """Bodies are taken in whole before they are read, so no two half-read ones can wait for each other."""

    def __init__(self, num_bytes: int) -> None:
        self._free = num_bytes
        self._changed = threading.Condition()

    def take(self, num_bytes: int) -> None:
        """Waits until so many bytes are free, and holds them."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= num_bytes)
            self._free -= num_bytes

    def give_back(self, num_bytes: int) -> None:
        """Lets others have them."""
        if num_bytes:
            with self._changed:
                self._free += num_bytes
                self._changed.notify_all()


def delay_s(attempt: int, first_s: float, most_s: float) -> float:
    """Seconds before try number `attempt` + 1 (0 has just failed): uniform between 0 and first_s * 2**attempt."""
    return random.uniform(0, min(most_s, first_s * 2 ** min(attempt, 30)))


_MAX_RETRY_AFTER_CHARS = 100


def retry_after_s(value: str | None, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait, in its form of seconds or of a date; None where it is none."""
    text = (value or "").strip()[:_MAX_RETRY_AFTER_CHARS]
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        parts = email.utils.parsedate_tz(text)
        if parts is None:
            return None
        year, month, day, hour, minute, second = parts[:6]
        then = datetime.datetime(min(year, 9998), month, day, hour, minute, second, tzinfo=datetime.UTC)
        then -= datetime.timedelta(seconds=parts[9] or 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds())
