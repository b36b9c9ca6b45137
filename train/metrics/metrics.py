"""What training reports: metrics.jsonl, one line a logged step, and a live line for people.

All fields but CLOCK_FIELDS are equal in two runs of the same job, bit for bit, killed in between or not (CPU, fp32).
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from openwit import storage
from openwit.log.events import duration

CLOCK_FIELDS = frozenset(
    {
        "unix_s",
        "step_s",
        "samples_per_s",
        "data_wait_share",
        "mfu",
        "own_s",
        "own_max_s",
        "slowest_rank",
        "data_wait_worst",
        "memory_gb",
    }
)


class Metrics:
    """Appends to `path`, from `step` on: later lines, which a killed run left, are cut off."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_records(path) if int(str(line["step"])) <= step]
        self.num_kept = len(kept)
        if path.exists():
            storage.write_bytes(str(path), "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write(self, step: int, **values: object) -> dict[str, object]:
        """Appends one line, and gives it back."""
        record = {"step": step, **values, "unix_s": round(time.time(), 3)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record


def read_records(path: Path) -> list[dict[str, object]]:
    """The lines of a metrics file; a half-written last one is left out, a missing file has none."""
    records: list[dict[str, object]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def last_record(path: Path, tail_bytes: int = 1 << 16) -> dict[str, object] | None:
    """The newest whole line of a metrics file that may be growing."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - tail_bytes))
        lines = file.read().split(b"\n")[:-1]
    if not lines:
        return None
    try:
        record: dict[str, object] = json.loads(lines[-1])
    except ValueError:
        return None
    return record


class Clock:
    """Times a lap of steps: how long, and what share of it was spent waiting for data."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.started = time.perf_counter()
        self.num_steps = 0

    def step(self) -> None:
        """One more step."""
        self.num_steps += 1

    def leave_out(self, seconds: float) -> None:
        """Time of this lap that was not spent on steps."""
        self.started += seconds

    def lap(self, batch_pairs: int, waited_s: float) -> dict[str, float]:
        """The steps since the last lap: seconds a step, pairs a second, and the share of the time that was waited for
        data."""
        elapsed = time.perf_counter() - self.started
        values = {
            "step_s": round(elapsed / self.num_steps, 4),
            "samples_per_s": round(self.num_steps * batch_pairs / elapsed, 1),
            "data_wait_share": round(waited_s / elapsed, 4),
        }
        self._start()
        return values


class Work(NamedTuple):
    """What one rank tells of its steps since the last line."""

    own_s: float  # of a step: it waits for data, then works by itself, until it first waits for other ranks
    data_wait_share: float  # of the whole time
    memory_gb: float  # at most, since it began: of the GPU, or of the process


def of_all_ranks(works: Sequence[Work]) -> dict[str, float]:
    """CLOCK_FIELDS that tell who holds the others up: the middle and the longest own time, whose it is, the worst wait
    for data; and the most memory."""
    own_s = [work.own_s for work in works]
    return {
        "own_s": round(statistics.median(own_s), 4),
        "own_max_s": round(max(own_s), 4),
        "slowest_rank": own_s.index(max(own_s)),
        "data_wait_worst": max(work.data_wait_share for work in works),
        "memory_gb": round(max(work.memory_gb for work in works), 3),
    }


def key_sum(keys: Iterable[str]) -> int:
    """A digest of the keys that asks not for their order: the sum of 64 bits of each, so that ranks' sums add up."""
    digests = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return sum(int.from_bytes(digest, "little") for digest in digests) % 2**64


def batch_digest(sums: Iterable[int]) -> str:
    """16 hex digits of a global batch, from its parts' key_sum: equal for the same pairs on any number of ranks."""
    return f"{sum(sums) % 2**64:016x}"


class LiveLine:
    """Shows records: one line rewritten on a terminal, else a line every ten seconds and the last."""

    def __init__(self, stream: TextIO, command: str, num_steps: int, every_s: float = 10.0) -> None:
        self.command = command
        self.stream, self.num_steps, self.every_s = stream, num_steps, every_s
        self.shown_step = 0
        self.shown_at = time.monotonic()

    def show(self, record: dict[str, object]) -> None:
        """The newest record; one that was shown before is passed over."""
        step = int(str(record["step"]))
        last = step == self.num_steps
        if step == self.shown_step:
            return
        if self.stream.isatty():
            print(f"\r\033[K{self._text(record)}", end="\n" if last else "", file=self.stream, flush=True)
        elif last or time.monotonic() - self.shown_at >= self.every_s:
            print(self._text(record), file=self.stream, flush=True)
            self.shown_at = time.monotonic()
        else:
            return
        self.shown_step = step

    def _text(self, record: dict[str, object]) -> str:
        left_s = (self.num_steps - int(str(record["step"]))) * float(str(record["step_s"]))
        return (
            f"{self.command}: {record['step']}/{self.num_steps}  loss {record['loss']:.4f}  "
            f"{record['samples_per_s']:.0f} pairs/s  wait {record['data_wait_share']:.0%}"
            + (f"  MFU {record['mfu']:.0%}" if "mfu" in record else "")
            + (f"  ETA {duration(left_s)}" if left_s else "")
        )
