"""Paired timing for benchmarks: ours and the peer in turn, medians of the ratios, one closing line of JSON.

Machines are noisy: two measurements are only compared when they were taken next to each other.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Paired:
    """Seconds of both sides, and the median over the pairs of peer/ours (above 1: ours is faster)."""

    ours_s: float
    peer_s: float
    speed_ratio: float


def paired(ours: Callable[[], object], peer: Callable[[], object], rounds: int, warm_up: bool = True) -> Paired:
    """Runs both in turn, `rounds` times, each time the other one first."""
    if warm_up:
        ours()
        peer()
    times: list[tuple[float, float]] = []
    for turn in range(rounds):
        first, second = (ours, peer) if turn % 2 == 0 else (peer, ours)
        one, two = seconds(first), seconds(second)
        times.append((one, two) if turn % 2 == 0 else (two, one))
    return Paired(
        ours_s=statistics.median(a for a, _ in times),
        peer_s=statistics.median(b for _, b in times),
        speed_ratio=statistics.median(b / a for a, b in times),
    )


def seconds(work: Callable[[], object]) -> float:
    """The wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def stage_seconds(folder: Path) -> float:
    """The time from the start of a finished stage's first partition to the end of its last one, by its sidecars."""
    ends = {path: path.stat().st_mtime for path in folder.glob("0*[0-9].json")}
    starts = [end - float(json.loads(path.read_text())["seconds"]) for path, end in ends.items()]
    return max(ends.values()) - min(starts)


def quick_flag(description: str | None) -> bool:
    """Parses the command line of a benchmark: --quick finishes in under 40 s on two cores."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: under 40 s on two cores")
    return bool(parser.parse_args().quick)


def report(name: str, ratios: dict[str, float], **details: object) -> None:
    """The closing line: ratios by name, and what they were measured on."""
    rounded = {key: round(value, 4) for key, value in ratios.items()}
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(json.dumps({"benchmark": name, **rounded, **details, "machine": machine}))


def results_path(benchmark: str, hardware: str) -> Path:
    """The file of today's results on that hardware, results/<hardware>-<benchmark>-<date>.json."""
    RESULTS.mkdir(exist_ok=True)
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return RESULTS / f"{hardware.lower().replace(' ', '-')}-{benchmark}-{day}.json"
