from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datagen.crawl import img2dataset_seams as tallies
from datagen.crawl.img2dataset_seams import CountingWriter, Tally, return_large_blocks
from helpers.places import ROOT

CODE = """
import sys
from datagen.crawl.img2dataset_seams import slim_import
with slim_import("img2dataset", without="torch", forget="webdataset"):
    from img2dataset.downloader import Downloader
    from img2dataset.writer import WebDatasetSampleWriter
assert Downloader and WebDatasetSampleWriter
print(*(name for name in ("torch", "ray", "albumentations", "webdataset") if name in sys.modules))
import torch, webdataset
assert issubclass(webdataset.WebDataset, torch.utils.data.IterableDataset)
from datagen.crawl.img2dataset_seams import slim_import
with slim_import("img2dataset", without="torch", forget="webdataset"):
    pass
assert sys.modules["torch"] is torch and sys.modules["webdataset"] is webdataset
"""


def test_a_worker_gets_the_two_modules_without_torch_and_ray_and_whoever_comes_later_gets_all() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
LIBRARY = ctypes.CDLL(None)


class Heap(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def paged_bytes() -> int:
    """Bytes in blocks that have pages of their own."""
    LIBRARY.mallinfo2.restype = Heap
    return int(LIBRARY.mallinfo2().hblkhd)


def main() -> None:
    """In a process of its own, as what others left in the heap would be used first."""
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        bytes(num_bytes)  # each freed block would raise the limit
    return_large_blocks()
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        before = paged_bytes()
        held = bytes(num_bytes)
        assert paged_bytes() - before >= num_bytes
        del held
        assert paged_bytes() == before


@pytest.mark.skipif(not hasattr(LIBRARY, "mallinfo2"), reason="needs glibc's mallinfo2")
def test_large_blocks_have_pages_of_their_own_however_many_were_freed_before() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, __file__], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    main()


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []
        self.is_closed = False

    def write(self, img_str: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        self.rows.append((img_str, key, caption, meta))

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(tallies.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def test_rows_are_counted_by_the_word_of_their_reason_and_told_once_a_second(clock: list[float]) -> None:
    told: list[tuple[float, Counter[str]]] = []

    def tell(share: float, counts: Mapping[str, int]) -> None:
        told.append((share, Counter(counts)))

    tally = Tally(8, tell)
    for status, message in (("success", None), ("failed_to_download", "dns: no such name"), ("success", None)):
        tally.add_bytes(100)
        tally.add_row(status, message)
        clock[0] += 0.4
    assert told == []
    tally.add_row("failed_to_resize", "image_truncated: short")
    tally.add_row("failed_to_download", None)
    counts = {"in": 4, "kept": 2, "dropped.dns": 1, "dropped.image_truncated": 1, "bytes": 300}
    assert told == [(0.5, Counter(counts))]
    assert tally.counts == {**counts, "in": 5, "dropped.other": 1}


def test_a_counting_writer_hands_every_row_on(tmp_path: Path) -> None:
    kept, tally = Kept(), Tally(2, lambda _share, _counts: None)
    writer = CountingWriter(kept, tally)
    rows: list[tuple[bytes | None, str, str, dict[str, Any]]] = [
        (b"jpeg", "0", "a cat", {"status": "success", "error_message": None}),
        (None, "1", "a dog", {"status": "failed_to_download", "error_message": "http_404: no"}),
    ]
    for row in rows:
        writer.write(*row)
    writer.close()
    assert kept.rows == rows
    assert kept.is_closed
    assert tally.counts == {"in": 2, "kept": 1, "dropped.http_404": 1}
