"""Trainings to kill or to stop: their processes, and how far they are."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil

from helpers.processes import Process, descendants, start, wait_until
from helpers.training import train_here
from train.job import Job, make_record, write_record
from train.launch import preemption
from train.metrics.metrics import last_record


def launched(job: Job, tmp_path: Path) -> tuple[Process, Path]:
    """The launcher as a process of its own, and its output file."""
    url = write_record(make_record(job))
    output = tmp_path / "output.txt"
    return start(["-m", "helpers.training", url], output), output


def ranks_of(launcher_pid: int) -> list[psutil.Process]:
    """The ranks that live."""
    family = [(process, _words(process)) for process in descendants(launcher_pid)]
    return [p for p, words in family if "train.rank_main" in words and "torch.distributed.run" not in words]


def agent_of(launcher_pid: int) -> psutil.Process | None:
    """torchrun's own process."""
    family = descendants(launcher_pid)
    return next((p for p in family if "torch.distributed.run" in (words := _words(p)) and "-c" not in words), None)


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def steps_done(job: Job) -> int:
    """The newest step in its metrics."""
    record = last_record(Path(job.metrics))
    return int(str(record["step"])) if record else 0


def train_until(job: Job, step: int) -> str:
    """Trains as a rank of helpers.ranks; the last rank is asked to stop when the step is done. What the training says
    when it stops."""
    preemption.listen()
    if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:

        def ask() -> None:
            wait_until(lambda: steps_done(job) >= step, 180)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=ask, daemon=True).start()
    try:
        train_here(job)
    except preemption.Stopped as stopped:
        return str(stopped)
    raise AssertionError("it was over before it was asked to stop")
