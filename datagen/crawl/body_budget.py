"""A limit on the bytes of fetched bodies that a worker holds at once."""

from __future__ import annotations

import threading


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
