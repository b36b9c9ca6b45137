"""Real processes to kill, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from helpers.places import ROOT


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Python with these arguments, from the checkout, tests/ importable; its output goes to `log`."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=output, env=environment, cwd=ROOT)


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Returns when the condition holds; AssertionError after the time-out."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"did not happen within {timeout_s} s"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """SIGKILL, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """All living processes below `pid`."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether none of them lives any more."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
