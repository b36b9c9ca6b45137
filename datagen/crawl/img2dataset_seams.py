"""Imports of two modules of a package without the rest of it.

`import img2dataset` loads its whole command with torch, ray and albumentations: 570 MB, 10 s in each worker. The crawl
needs its downloader and its writer: 20 MB, half a second.

Memory of large bodies goes back to the system as soon as it is free.

What a shard has come to while img2dataset still works on it, told once a second.

It is for whoever looks on. What counts is what the finished shard's table says (see finalize.count_rows).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from datagen.crawl.fetch.failures import reason


@contextlib.contextmanager
def slim_import(package: str, *, without: str, forget: str) -> Iterator[None]:
    """Meanwhile the package's own `__init__` is skipped, and the library `without` counts as not installed.

    `forget` names the library that was thereby imported without it: later imports get it whole. What is loaded
    already stays as it is.
    """
    made: list[str] = []
    if package not in sys.modules and (spec := importlib.util.find_spec(package)):
        sys.modules[package] = importlib.util.module_from_spec(spec)  # made, but not executed
    if without not in sys.modules:
        sys.modules[without] = None  # type: ignore[assignment]  # the import system's sign for "not there"
        made = [] if forget in sys.modules else [forget]
    try:
        yield
    finally:
        if sys.modules.get(without, types) is None:
            del sys.modules[without]
        for name in [name for name in sys.modules if any(name == m or name.startswith(f"{m}.") for m in made)]:
            del sys.modules[name]


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGE_BYTES = 1 << 20
_KEPT_BYTES = 16 << 20


def return_large_blocks() -> None:
    """From now on each block of a megabyte and more has pages of its own, for this whole process.

    glibc starts so, but once a large block was freed it takes the next ones from the heaps of single threads, where
    small blocks hold them fast: a worker of 64 threads then grows by 100 MB with every 25 bodies of 18 MB. Where there
    is no glibc, nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)  # which would be 128 kB then, and small blocks come and go


REPORT_S = 1.0


class Tally:
    """Counts rows and bytes of a shard of `rows` rows; `report` gets the share that is done, and the counts. Used by
    one thread: img2dataset resizes and writes in the same one."""

    def __init__(self, rows: int, report: Callable[[float, Mapping[str, int]], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._rows, self._report, self._reported = rows, report, time.monotonic()

    def add_bytes(self, number: int) -> None:
        """A body of so many bytes was fetched."""
        self.counts["bytes"] += number

    def add_row(self, status: str, error_message: str | None) -> None:
        """A row was attempted for the last time."""
        self.counts["in"] += 1
        self.counts["kept" if status == "success" else f"dropped.{reason(error_message or '')}"] += 1
        now = time.monotonic()
        if now - self._reported >= REPORT_S:
            self._reported = now
            self._report(self.counts["in"] / self._rows, self.counts)


class Writer(Protocol):
    """img2dataset's writers of samples."""

    def write(self, img_str: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        """One row, with its image where there is one."""
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
