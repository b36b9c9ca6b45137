from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datagen.crawl import tally as tallies
from datagen.crawl.tally import CountingWriter, Tally


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
    monkeypatch.setattr(tallies.time, "monotonic", lambda: now[0])
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
