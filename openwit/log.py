"""What a run says: one JSON line an event in a file, and live progress with rate and ETA on the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from openwit.storage import writing

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Progress(Protocol):
    """The live line of one piece of work."""

    def advance(self, steps: int = 1, counts: Counter[str] | dict[str, int] | None = None) -> None:
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
    def progress(self, name: str, *, total: int, done: int = 0) -> Iterator[Progress]:
        """A live line on a terminal; elsewhere a line every ten seconds and one at the end."""
        if self.stream.isatty():
            with _terminal_progress(self.stream, name, total, done) as live:
                yield live
            return
        lines = LineProgress(self.stream, name, total, done)
        yield lines
        lines.finish()


class LineProgress:
    """Progress as plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO, name: str, total: int, done: int, every_s: float = 10.0) -> None:
        self.stream, self.name, self.total, self.every_s = stream, name, total, every_s
        self.done = self.before = done
        self.counts: Counter[str] = Counter()
        self.started = self.shown = time.monotonic()

    def advance(self, steps: int = 1, counts: Counter[str] | dict[str, int] | None = None) -> None:
        """See Progress.advance."""
        self.done += steps
        self.counts.update(counts or {})
        if time.monotonic() - self.shown >= self.every_s:
            self.shown = time.monotonic()
            self._show()

    def finish(self) -> None:
        """The closing line."""
        if self.before == self.total:
            print(f"{self.name}: {self.total}/{self.total} done before", file=self.stream, flush=True)
        else:
            self._show()

    def _show(self) -> None:
        elapsed = time.monotonic() - self.started
        rate = (self.done - self.before) / max(elapsed, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        eta = f", ETA {duration(left)}" if 0 < left < float("inf") else ""
        text = f"{self.name}: {self.done}/{self.total} in {duration(elapsed)} ({rate:.3g}/s{eta}){summary(self.counts)}"
        print(text, file=self.stream, flush=True)


@contextmanager
def _terminal_progress(stream: TextIO, name: str, total: int, done: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(file=stream)) as bars:
        task = bars.add_task(name, total=total, completed=done, note="")
        yield _BarProgress(bars, task)


class _BarProgress:
    """A bar of rich's display."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self.bars, self.task = bars, task
        self.counts: Counter[str] = Counter()

    def advance(self, steps: int = 1, counts: Counter[str] | dict[str, int] | None = None) -> None:
        """See Progress.advance."""
        self.counts.update(counts or {})
        share = self.counts["kept"] / self.counts["in"] if self.counts["in"] else 0.0
        note = f"kept {share:.1%} of {self.counts['in']:,}" if self.counts["in"] else ""
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


def summary(counts: Counter[str]) -> str:
    """in, kept and the three commonest reasons, with a leading space; empty without counts."""
    if not counts["in"]:
        return ""
    dropped = [(n, name.removeprefix("dropped.")) for name, n in counts.items() if name.startswith("dropped.")]
    top = ", ".join(f"{name} {n:,}" for n, name in sorted(dropped, reverse=True)[:3])
    return f"  in {counts['in']:,}, kept {counts['kept']:,}" + (f" ({top})" if top else "")
