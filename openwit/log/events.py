"""What a run says: one JSON line an event in a file, and live progress with rate and ETA on the terminal."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TextIO

from openwit.errors import WorkError, printable, printable_lines
from openwit.storage.files import writing

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

NO_COUNTS: Mapping[str, int] = MappingProxyType({})
_LOOK_S = 1.0  # between two looks at what is in flight


@dataclass(frozen=True)
class InFlight:
    """What steps that are not done yet have come to: of each the share that is done, added up, and their counts."""

    steps: float
    counts: Mapping[str, int]


NOTHING = InFlight(0.0, NO_COUNTS)


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
        entry = {"time": round(time.time(), 3), "event": name, **fields}
        line = json.dumps(_printable(entry), ensure_ascii=False, default=lambda value: printable_lines(str(value)))
        with writing(str(self.path)), self.path.open("ab", buffering=0) as file:
            file.write(f"{line}\n".encode())

    def say(self, text: str) -> None:
        """One line for the person at the terminal, or several."""
        print(printable_lines(text), file=self.stream, flush=True)

    @contextmanager
    def progress(
        self,
        name: str,
        *,
        total: int,
        done: int = 0,
        counts: Mapping[str, int] = NO_COUNTS,
        in_flight: Callable[[], InFlight] | None = None,
    ) -> Iterator[Progress]:
        """A live line on a terminal; elsewhere a line now and then, and one at the end. Each line is an event too.
        `done` were done before, and `counts` are theirs. `in_flight` is asked each second, in a thread."""
        is_terminal = self.stream.isatty()
        lines = LineProgress(None if is_terminal else self.stream, name, total, done, log=self)
        lines.begin(counts)
        with contextlib.ExitStack() as stack:
            if is_terminal:
                lines.bar = stack.enter_context(_terminal_bar(self.stream, name, total, done))
                lines.advance(0)
            stack.enter_context(_looking(in_flight, lines))
            yield lines
        lines.finish()


def _printable(value: object) -> object:
    """The value with each text in it printable, keys too."""
    if isinstance(value, str):
        return printable_lines(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


@contextmanager
def _looking(in_flight: Callable[[], InFlight] | None, lines: LineProgress) -> Iterator[None]:
    """Meanwhile `lines` hears each second what is in flight."""
    if in_flight is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            with contextlib.suppress(WorkError):  # a full disk: the next step says so, where somebody hears it
                lines.look(in_flight())

    thread = threading.Thread(target=look, name=f"{lines.name} in flight", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        lines.in_flight = NOTHING


class LineProgress:
    """Progress as plain lines and as events: one in ten seconds, less often the longer it takes; and on a terminal the
    bar. What is in flight is shown with what is done, and counts no more once its step is done."""

    share_of_elapsed = 0.02  # between two lines: a day's work is some 300 lines

    def __init__(
        self, stream: TextIO | None, name: str, total: int, done: int, every_s: float = 10.0, log: Log | None = None
    ) -> None:
        self.stream, self.name, self.total, self.every_s, self.log = stream, name, total, every_s, log
        self.done = self.before = done
        self.counts: Counter[str] = Counter()
        self.counts_before: Counter[str] = Counter()
        self.in_flight = NOTHING
        self.bar: _Bar | None = None
        self.started = self.shown = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, counts: Mapping[str, int]) -> None:
        """The counts of what was done before."""
        self.counts.update(counts)
        self.counts_before.update(counts)

    def advance(self, steps: int = 1, counts: Mapping[str, int] = NO_COUNTS) -> None:
        """See Progress.advance."""
        with self._lock:
            self.done += steps
            self.counts.update(counts)
            self._show_in_time()

    def look(self, in_flight: InFlight) -> None:
        """Takes the place of what was in flight before."""
        with self._lock:
            self.in_flight = in_flight
            self._show_in_time()

    def finish(self) -> None:
        """The closing line."""
        if self.before == self.total:
            self._print(f"{self.name}: {self.total:,}/{self.total:,} done before")
        else:
            self._show()

    def _show_in_time(self) -> None:
        now = time.monotonic()
        if self.bar is not None:
            counts = self._counted()
            self.bar.show(self.done, self.in_flight.steps, counts, self._flow(counts))
        pause_s = max(self.every_s, self.share_of_elapsed * (now - self.started))
        if self.done < self.total and now - self.shown >= pause_s:
            self.shown = now
            self._show()

    def _counted(self) -> Counter[str]:
        return self.counts + Counter(self.in_flight.counts)

    def _per_s(self, counts: Mapping[str, int], name: str) -> float:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        return (counts.get(name, 0) - self.counts_before[name]) / elapsed

    def _flow(self, counts: Mapping[str, int]) -> str:
        """Of work that counts bytes (the crawl): rows and images a second, and bytes, with a leading comma; else
        empty."""
        if not counts.get("bytes"):
            return ""
        rows, images = self._per_s(counts, "in"), self._per_s(counts, "kept")
        return f", {rows:.3g} rows/s, {images:.3g} images/s, {short(counts['bytes'])}B"

    def _show(self) -> None:
        elapsed, counts = time.monotonic() - self.started, self._counted()
        steps = self.done + self.in_flight.steps
        rate = (steps - self.before) / max(elapsed, 1e-9)
        left = (self.total - steps) / rate if rate > 0 else float("inf")
        eta = f", ETA {duration(left)}" if 0 < left < float("inf") else ""
        share = f" ({math.floor(100 * steps / self.total)}%)" if self.done < self.total else ""
        done = f"{self.done:,}/{self.total:,}{share} in {duration(elapsed)}"
        rows = self.in_flight.counts.get("in", 0)
        self._print(f"{self.name}: {done}, {speed(rate)}{eta}{self._flow(counts)}{summary(counts, rows)}")
        if self.log is not None:
            known = {"bytes": counts["bytes"]} if "bytes" in counts else {}
            live = {"rows_in_flight": rows} if rows else {}
            self.log.event(
                "progress", stage=self.name, done=self.done, total=self.total, rows=last_rows(counts), **live,
                kept=counts["kept"], dropped=dict(top_dropped(counts)), rows_per_s=round(self._per_s(counts, "in"), 3),
                kept_per_s=round(self._per_s(counts, "kept"), 3), **known,
                eta_s=round(left, 1) if left < float("inf") else None,
            )  # fmt: skip

    def _print(self, text: str) -> None:
        if self.stream is not None:
            print(printable(text), file=self.stream, flush=True)


@contextmanager
def _terminal_bar(stream: TextIO, name: str, total: int, done: int) -> Iterator[_Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[done]:,}/{task.total:,.0f}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # The rate is that of the last thousand steps of a day: by default of half a minute, in which a step may not end.
    with Bars(*columns, console=Console(file=stream), speed_estimate_period=86_400) as bars:
        yield _Bar(bars, bars.add_task(name, total=total, completed=done, done=done, note=""))


class _Bar:
    """A bar of rich's display."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def show(self, done: int, in_flight: float, counts: Counter[str], flow: str) -> None:
        """So many steps are done, and the bar stands further by what is in flight."""
        share = counts["kept"] / counts["in"] if counts["in"] else 0.0
        note = f"kept {share:.1%} of {short(counts['in'])}" if counts["in"] else ""  # the bar must fit beside it
        if flow:
            note += flow + "\n" + ", ".join(f"{name} {short(n)}" for name, n in top_dropped(counts))
        self.bars.update(self.task, completed=done + in_flight, done=done, note=note)


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


def summary(counts: Counter[str], in_flight: int = 0) -> str:
    """in (and how many of them are in flight), kept and the five commonest reasons, with a leading space; empty without
    counts."""
    if not counts["in"]:
        return ""
    rows = f"{last_rows(counts):,}" + (f" ({in_flight:,} in flight)" if in_flight else "")
    top = ", ".join(f"{name} {n:,}" for name, n in top_dropped(counts))
    return f"  in {rows}, kept {counts['kept']:,}" + (f" ({top})" if top else "")
