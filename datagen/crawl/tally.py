"""What a shard has come to while img2dataset still works on it, told once a second.

It is for whoever looks on. What counts is what the finished shard's table says (see seal.count_rows).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from datagen.crawl.reasons import reason

TELL_S = 1.0


class Tally:
    """Counts rows and bytes of a shard of `rows` rows; `tell` is given the share that is done, and the counts. Used by
    one thread: img2dataset resizes and writes in the same one."""

    def __init__(self, rows: int, tell: Callable[[float, Mapping[str, int]], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._rows, self._tell, self._told = rows, tell, time.monotonic()

    def add_bytes(self, number: int) -> None:
        """A body of so many bytes was fetched."""
        self.counts["bytes"] += number

    def add_row(self, status: str, error_message: str | None) -> None:
        """A row has its last word."""
        self.counts["in"] += 1
        self.counts["kept" if status == "success" else f"dropped.{reason(error_message or '')}"] += 1
        now = time.monotonic()
        if now - self._told >= TELL_S:
            self._told = now
            self._tell(self.counts["in"] / self._rows, self.counts)


class Writer(Protocol):
    """img2dataset's writers of samples."""

    def write(self, img_str: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        """One row, with its picture where there is one."""
        ...

    def close(self) -> None:
        """All rows are written."""
        ...


class CountingWriter:
    """A writer that counts each row: the seam by which img2dataset gives rows away before the shard is done."""

    def __init__(self, writer: Writer, tally: Tally) -> None:
        self._writer, self._tally = writer, tally

    def write(self, img_str: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        """See Writer.write."""
        self._writer.write(img_str, key, caption, meta)
        self._tally.add_row(meta["status"], meta["error_message"])

    def close(self) -> None:
        """See Writer.close."""
        self._writer.close()
