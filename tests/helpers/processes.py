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

from helpers.patience import patience
from helpers.places import ROOT


class Process(subprocess.Popen[bytes]):
    """A process whose limit is longer where the machine is busy."""

    def wait(self, timeout: float | None = 120.0) -> int:
        """The exit code; subprocess.TimeoutExpired where it runs on after `timeout` seconds of a quiet machine."""
        return super().wait(None if timeout is None else patience(timeout))


def start(arguments: Sequence[str], log: Path) -> Process:
    """Python with these arguments, from the checkout, tests/ importable; its output goes to `log`."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with log.open("ab") as output:
        return Process([sys.executable, *arguments], stdout=output, stderr=output, env=environment, cwd=ROOT)


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Returns when the condition holds; AssertionError where it does not after so many seconds of a quiet machine."""
    begun = time.monotonic()
    while not condition():
        if (waited_s := time.monotonic() - begun) > timeout_s:
            assert waited_s < patience(timeout_s), f"did not happen within {waited_s:.0f} s"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """SIGKILL, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """All living processes below `pid`."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether none of them lives any more."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
