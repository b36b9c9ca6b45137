"""One deadline for everything that a fetch does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Deadline:
    """`seconds` from now on; looking up, connecting, headers, body and redirects share them."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises TimeoutError where there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is waited for politeness' sake meanwhile is not the server's fault, and does not count."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.at += time.monotonic() - started
