"""SIGTERM asks a training to stop, as SLURM, Kubernetes and spot machines do some time before they take the machine:
the ranks save a checkpoint and end. Light to import (no torch)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from openwit.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Work

    from train.ranks import Ranks

SAVE_S = 120.0  # from SIGTERM until the ranks have ended, their last checkpoint written

_asked = threading.Event()


class Stopped(WorkError):
    """The training was asked to stop, and its last checkpoint is that of its last step."""

    exit_code = 128 + signal.SIGTERM


def ask() -> None:
    """This rank, and so all ranks, stop after one of the next steps."""
    _asked.set()


def listen() -> None:
    """From now on SIGTERM asks this rank to stop, and does not end it."""
    signal.signal(signal.SIGTERM, lambda *_: ask())


class PreemptionVote:
    """By which the ranks stop after the same step, whichever of them was asked. All make it."""

    def __init__(self, ranks: Ranks) -> None:
        import torch.distributed as dist

        self._group = dist.new_group(backend="gloo") if ranks.num_ranks > 1 else None
        self._vote: tuple[Work, Tensor] | None = None

    def stop_now(self) -> bool:
        """Whether all stop now. Every rank calls it after each step, and gets the vote of the step before, which had a
        step's time to go round the processors: nobody waits, and no GPU is asked."""
        import torch
        import torch.distributed as dist

        if self._group is None:
            return _asked.is_set()
        if self._vote is not None:
            work, votes = self._vote
            work.wait()
            if votes.item():
                return True
        votes = torch.tensor(int(_asked.is_set()))
        work = dist.all_reduce(votes, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._vote = work, votes
        return False


class SignalForwarder:
    """Within it SIGTERM is forwarded to the ranks below `process` (torchrun) by a byte in the standard input that they
    share. torchrun itself would give them 30 s."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._asked_at: float | None = None

    def __enter__(self) -> SignalForwarder:
        self._is_main = threading.current_thread() is threading.main_thread()  # others may not set handlers
        if self._is_main:
            self._before = signal.signal(signal.SIGTERM, self._forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_main:
            signal.signal(signal.SIGTERM, self._before)

    def require_patience(self) -> None:
        """Raises WorkError where the ranks take too long to stop."""
        if self._asked_at is not None and time.monotonic() - self._asked_at > SAVE_S:
            raise WorkError(
                f"no checkpoint within {SAVE_S:.0f} s after SIGTERM; the same command goes on from the last one"
            )

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None and self.process.stdin is not None:
            self._asked_at = time.monotonic()
            with contextlib.suppress(OSError):  # the ranks have ended
                os.write(self.process.stdin.fileno(), b"s")
