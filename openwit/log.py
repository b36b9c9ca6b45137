"""What a run says: one JSON line an event in a file, and live progress with rate and ETA on the terminal."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TextIO

from openwit.storage import writing

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

NO_COUNTS: Mapping[str, int] = MappingProxyType({})


class Progress(Protocol):
    """The live line of one piece of work."""

    def advance(self, steps: int = 1, counts: Mapping[str, int] = NO_COUNTS) -> None:
        """`steps` more are done; `counts` are added to those shown."""
        ...


class Log:
    """Events go to `path` (or nowhere); progress and messages to `stream` (standard error)."""

    def __init__(self, path: Path | None = None, stream: TextIO | None = None) -> None:
        self.path = path
        self.stream = stream or sys.stderr
        if path is not None:
            with writing(str(path)):
                path.parent.mkdir(parents=True, exist_ok=True)

    def event(self, name: str, **fields: object) -> None:
        """Appends {"time", "event", …fields} as one JSON line, in one piece. Raises WorkError on a full disk."""
        if self.path is None:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": name, **fields}, ensure_ascii=False, default=str)
        with writing(str(self.path)), self.path.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())

    def say(self, text: str) -> None:
        """One line for the person at the terminal."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def progress(
        self, name: str, *, total: int, done: int = 0, counts: Mapping[str, int] = NO_COUNTS
    ) -> Iterator[Progress]:
        """A live line on a terminal; elsewhere a line now and then, and one at the end. Each line is an event too.
        `done` were done before, and `counts` are theirs."""
        is_terminal = self.stream.isatty()
        lines = LineProgress(None if is_terminal else self.stream, name, total, done, log=self)
        lines.counts.update(counts)
        lines.counted_before = lines.counts["in"]
        if is_terminal:
            with _terminal_progress(self.stream, name, total, done) as bar:
                bar.lines = lines
                bar.advance(0)
                yield bar
        else:
            yield lines
        lines.finish()


class LineProgress:
    """Progress as plain lines and as events: one in ten seconds, less often the longer it takes."""

    share_of_elapsed = 0.02  # between two lines: a day's work is some 300 lines

    def __init__(
        self, stream: TextIO | None, name: str, total: int, done: int, every_s: float = 10.0, log: Log | None = None
    ) -> None:
        self.stream, self.name, self.total, self.every_s, self.log = stream, name, total, every_s, log
        self.done = self.before = done
        self.counts: Counter[str] = Counter()
        self.counted_before = 0
        self.started = self.shown = time.monotonic()

    def advance(self, steps: int = 1, counts: Mapping[str, int] = NO_COUNTS) -> None:
        """See Progress.advance."""
        self.done += steps
        self.counts.update(counts)
        now = time.monotonic()
        pause_s = max(self.every_s, self.share_of_elapsed * (now - self.started))
        if self.done < self.total and now - self.shown >= pause_s:
            self.shown = now
            self._show()

    def finish(self) -> None:
        """The closing line."""
        if self.before == self.total:
            self._print(f"{self.name}: {self.total:,}/{self.total:,} done before")
        else:
            self._show()

    def flow(self) -> str:
        """Of work that counts bytes (the crawl): rows and bytes a second, with a leading comma; else empty."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        if not self.counts["bytes"]:
            return ""
        rows = (self.counts["in"] - self.counted_before) / elapsed
        return f", {rows:.3g} rows/s, {short(self.counts['bytes'])}B"

    def _show(self) -> None:
        elapsed = time.monotonic() - self.started
        rate = (self.done - self.before) / max(elapsed, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        eta = f", ETA {duration(left)}" if 0 < left < float("inf") else ""
        share = f" ({math.floor(100 * self.done / self.total)}%)" if self.done < self.total else ""
        done = f"{self.done:,}/{self.total:,}{share} in {duration(elapsed)}"
        self._print(f"{self.name}: {done}, {speed(rate)}{eta}{self.flow()}{summary(self.counts)}")
        if self.log is not None:
            rows_per_s = round((self.counts["in"] - self.counted_before) / max(elapsed, 1e-9), 3)
            known = {"bytes": self.counts["bytes"]} if "bytes" in self.counts else {}
            self.log.event(
                "progress", stage=self.name, done=self.done, total=self.total, rows=last_rows(self.counts),
                kept=self.counts["kept"], dropped=dict(top_dropped(self.counts)), rows_per_s=rows_per_s, **known,
                eta_s=round(left, 1) if left < float("inf") else None,
            )  # fmt: skip

    def _print(self, text: str) -> None:
        if self.stream is not None:
            print(text, file=self.stream, flush=True)


@contextmanager
def _terminal_progress(stream: TextIO, name: str, total: int, done: int) -> Iterator[_BarProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # The rate is that of the last thousand steps of a day: by default of half a minute, in which a step may not end.
    with Bars(*columns, console=Console(file=stream), speed_estimate_period=86_400) as bars:
        task = bars.add_task(name, total=total, completed=done, note="")
        yield _BarProgress(bars, task)


class _BarProgress:
    """A bar of rich's display."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self.bars, self.task = bars, task
        self.lines: LineProgress

    def advance(self, steps: int = 1, counts: Mapping[str, int] = NO_COUNTS) -> None:
        """See Progress.advance."""
        self.lines.advance(steps, counts)
        counted = self.lines.counts
        share = counted["kept"] / counted["in"] if counted["in"] else 0.0
        note = f"kept {share:.1%} of {short(counted['in'])}" if counted["in"] else ""
        if flow := self.lines.flow():
            note += flow + "\n" + ", ".join(f"{name} {short(n)}" for name, n in top_dropped(counted))
        self.bars.update(self.task, advance=steps, note=note)  # short: the bar must fit beside it


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 4.2 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86400 * 2:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} d {seconds % 86400 // 3600} h"


def speed(per_s: float) -> str:
    """Steps a second, or of a slow work a minute or an hour: 12/s, 4.2/min, 1.5/h."""
    for seconds, unit in ((1, "s"), (60, "min")):
        if per_s * seconds >= 1:
            return f"{per_s * seconds:.3g}/{unit}"
    return f"{per_s * 3600:.3g}/h"


def short(number: int) -> str:
    """A number in at most six characters: 9,999, 12.3k, 4.57M, 42.0G."""
    if number < 10_000:
        return f"{number:,}"
    power = min((len(str(number)) - 1) // 3, 4)
    value = number / 1000**power
    return f"{value:.{2 - min(len(str(int(value))) - 1, 2)}f}{'kMGT'[power - 1]}"


def top_dropped(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The five commonest reasons with their numbers, without rows that were tried again."""
    dropped = [(name.removeprefix("dropped."), n) for name, n in counts.items() if name.startswith("dropped.")]
    left = [(name, n - counts.get(f"retried.{name}", 0)) for name, n in dropped]
    return sorted([entry for entry in left if entry[1]], key=lambda entry: (-entry[1], entry[0]))[:5]


def last_rows(counts: Mapping[str, int]) -> int:
    """The rows that came in, each counted once however often it was tried."""
    return counts.get("in", 0) - sum(n for name, n in counts.items() if name.startswith("retried."))


def summary(counts: Counter[str]) -> str:
    """in, kept and the five commonest reasons, with a leading space; empty without counts."""
    if not counts["in"]:
        return ""
    rows = last_rows(counts)
    top = ", ".join(f"{name} {n:,}" for name, n in top_dropped(counts))
    return f"  in {rows:,}, kept {counts['kept']:,}" + (f" ({top})" if top else "")
