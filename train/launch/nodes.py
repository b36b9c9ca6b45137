"""What the launchers of one training agree on, each on its node: where their ranks meet, and what a rank tells all of
them when it fails. Light to import (no torch)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openwit.errors import ConfigError, InputError, OpenwitError, WorkError
from train.config import AnyTrainingConfig
from train.job import Job
from train.launch.preemption import Stopped

FAILURES = "failures"  # of a training's folder, where its nodes share one
MEET_S = 600  # until the last node has come
TELL_S = 5.0
TOLD = {kind.__name__: kind for kind in (ConfigError, InputError, WorkError)}


def meeting_options(job: Job) -> list[str]:
    """torchrun's options for where the ranks of all nodes meet: alone, on this machine's loopback."""
    config = job.config
    if config.nodes == 1:
        return ["--standalone", "--local-addr=127.0.0.1"]
    identity = hashlib.blake2b(job.out.encode(), digest_size=8).hexdigest()
    here = ["--local-addr=127.0.0.1"] if on_loopback(config) else []
    return [
        f"--nnodes={config.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={config.rendezvous}",
        f"--rdzv-id=openwit-{identity}",
        f"--rdzv-conf=join_timeout={MEET_S},read_timeout={MEET_S}",
        *here,
    ]


def on_loopback(config: AnyTrainingConfig) -> bool:
    """Whether all ranks are on this machine, reached by its loopback interface."""
    host = config.rendezvous.rpartition(":")[0]
    return config.nodes == 1 or host == "localhost" or host.startswith("127.")


def output_name(config: AnyTrainingConfig) -> str:
    """The file of what torchrun and the ranks of this node print."""
    return "torchrun.log" if config.nodes == 1 else f"torchrun-{socket.gethostname()}.log"


@dataclass(frozen=True)
class Failures:
    """What ranks of this run tell of their failure, one file a rank (train.rank_main writes them)."""

    folder: Path
    patience_s: float = 0.0  # for what went wrong on another node to be seen on this one
    since_ns: int = 0  # by the clock of the folder's file system: files of earlier runs are older

    def notes(self) -> list[dict[str, Any]]:
        """The notes, oldest first."""
        files = [path for path in self.folder.glob("*.json") if path.stat().st_mtime_ns >= self.since_ns]
        return sorted((json.loads(path.read_text()) for path in files), key=lambda note: note["unix_s"])

    def stopped(self) -> Stopped | None:
        """Where the ranks stopped as they were asked to, on whichever node."""
        return next((Stopped(note["message"]) for note in self.notes() if note["kind"] == Stopped.__name__), None)

    def error(self) -> OpenwitError | None:
        """The first rank's error of our own; where there is none at last, None."""
        end = time.monotonic() + self.patience_s
        while True:
            for note in self.notes():
                if note["kind"] in TOLD:
                    return TOLD[note["kind"]](note["message"])
            if time.monotonic() > end:
                return None
            time.sleep(0.1)


@contextlib.contextmanager
def failures_of(job: Job, everywhere: bool) -> Iterator[Failures]:
    """Where this run's ranks tell: a folder of this machine, or one in the training's folder that all nodes see."""
    if not everywhere:
        with tempfile.TemporaryDirectory(prefix="openwit-") as folder:
            yield Failures(Path(folder))
        return
    shared = Path(job.here) / FAILURES
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=shared, prefix="launcher-") as marker:
        yield Failures(shared, TELL_S, Path(marker.name).stat().st_mtime_ns)
