"""What the launchers of one training share, each on its node: where their ranks meet, and the files in which ranks
report their errors. Light to import (no torch)."""

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

ERRORS = "rank_errors"  # folder of a training's, where its nodes share one
MEET_S = 600  # until the last node has come
PATIENCE_S = 5.0  # for another node's file to be seen on this one
ERROR_KINDS = {kind.__name__: kind for kind in (ConfigError, InputError, WorkError)}


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
class RankErrors:
    """The error files of this run's ranks, one each (train.rank_main writes them)."""

    folder: Path
    patience_s: float = 0.0  # for what went wrong on another node to be seen on this one
    since_ns: int = 0  # by the clock of the folder's file system: files of earlier runs are older

    def records(self) -> list[dict[str, Any]]:
        """What the files say, oldest first."""
        files = [path for path in self.folder.glob("*.json") if path.stat().st_mtime_ns >= self.since_ns]
        return sorted((json.loads(path.read_text()) for path in files), key=lambda record: record["unix_s"])

    def stopped(self) -> Stopped | None:
        """Where the ranks stopped as they were asked to, on whichever node."""
        return next(
            (Stopped(record["message"]) for record in self.records() if record["kind"] == Stopped.__name__), None
        )

    def error(self) -> OpenwitError | None:
        """The first rank's error of our own; where there is none at last, None."""
        end = time.monotonic() + self.patience_s
        while True:
            for record in self.records():
                if record["kind"] in ERROR_KINDS:
                    return ERROR_KINDS[record["kind"]](record["message"])
            if time.monotonic() > end:
                return None
            time.sleep(0.1)


@contextlib.contextmanager
def open_rank_errors(job: Job, everywhere: bool) -> Iterator[RankErrors]:
    """Where this run's ranks report: a folder of this machine, or one in the training's folder that all nodes see."""
    if not everywhere:
        with tempfile.TemporaryDirectory(prefix="openwit-") as folder:
            yield RankErrors(Path(folder))
        return
    shared = Path(job.here) / ERRORS
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=shared, prefix="launcher-") as marker:
        yield RankErrors(shared, PATIENCE_S, Path(marker.name).stat().st_mtime_ns)
