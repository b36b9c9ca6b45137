"""The loss monitor: what is no number ends the training before a checkpoint holds it, a spike is noted.

Losses and gradient norms stay on the device, and are read several steps at a time: a step never waits to be checked.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from openwit import storage
from openwit.errors import WorkError
from train.job import Job
from train.metrics.metrics import Metrics, read_records
from train.ranks import Ranks
from train.step import Measured

SPIKES = "spikes.jsonl"  # beside metrics.jsonl
STOPPED = "stopped"  # folder of what led to a stop
MAX_UNSEEN = 100  # steps that may wait to be checked
KEPT_SEEN = 10  # steps kept after it, for what they tell of a later one
MAX_OVERFLOWS = 50  # fp16 steps in a row: the scaler halves its factor each time, and has none left
USUAL_LINES = 20  # logged losses of which the running mean is made
MIN_LINES = 10  # before there is one


@dataclass(frozen=True)
class Seen:
    """One step as a rank saw it."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    keys: tuple[str, ...]  # of this rank's pairs


class _Unseen(NamedTuple):
    step: int
    measured: Measured
    learning_rate: float
    keys: tuple[str, ...]


class Spike(NamedTuple):
    """A loss far above the mean of those before it."""

    step: int
    loss: float
    mean: float


class UsualLoss:
    """The mean of the newest logged losses. It depends on the lines of metrics.jsonl alone, so a run that was killed
    finds the same spikes."""

    def __init__(self, losses: Iterable[float]) -> None:
        self._losses = deque(losses, maxlen=USUAL_LINES)

    def add(self, loss: float) -> None:
        """One more logged loss."""
        self._losses.append(loss)

    @property
    def mean(self) -> float | None:
        """None while there are too few."""
        return math.fsum(self._losses) / len(self._losses) if len(self._losses) >= MIN_LINES else None


class LossMonitor:
    """One rank's monitor; all add the same steps and check at the same ones."""

    def __init__(self, job: Job, ranks: Ranks, start_step: int) -> None:
        self.job, self.ranks = job, ranks
        self._unseen: list[_Unseen] = []
        self._seen: deque[Seen] = deque(maxlen=KEPT_SEEN)
        self._overflows = 0  # fp16 steps in a row
        logged = read_records(Path(job.metrics))
        self._usual = UsualLoss(float(str(line["loss"])) for line in logged if int(str(line["step"])) <= start_step)
        self._spikes = Metrics(Path(job.here) / SPIKES, start_step) if ranks.is_first else None
        self.num_spikes = self._spikes.num_kept if self._spikes else 0  # the first rank knows it

    def add(self, step: int, measured: Measured, learning_rate: float, keys: tuple[str, ...]) -> None:
        """One more step; raises WorkError as `check` does where too many wait to be checked."""
        self._unseen.append(_Unseen(step, measured, learning_rate, keys))
        if len(self._unseen) == MAX_UNSEEN:
            self.check()

    def check(self) -> None:
        """Checks the steps since the last call. All ranks call it.

        Raises WorkError where a loss or a gradient is no number, or fp16 overflows without end; by then the first rank
        has written down the steps that led to it.
        """
        if not self._unseen:
            return
        new = self._read()
        verdicts = self.ranks.gather((self._bad(new), self._spikes_among(new)))
        bad = min((first for first, _ in verdicts if first is not None), default=None)
        if bad is not None:
            self._stop(*bad)
        self._note(verdicts[0][1], new)

    def logged(self, loss: float) -> None:
        """A checked step's loss went to metrics.jsonl."""
        self._usual.add(loss)

    def _read(self) -> list[Seen]:
        unseen, self._unseen = self._unseen, []
        pairs = [torch.stack([entry.measured.loss, entry.measured.gradient_norm]) for entry in unseen]
        numbers = torch.stack(pairs).tolist()  # here it waits for the device
        new = [
            Seen(step, loss, norm, rate, keys)
            for (step, _, rate, keys), (loss, norm) in zip(unseen, numbers, strict=True)
        ]
        self._seen = deque((*self._seen, *new), maxlen=KEPT_SEEN + len(new))
        return new

    def _bad(self, new: list[Seen]) -> tuple[int, str] | None:
        """The first step that must end the training, and what it is."""
        for seen in new:
            if not math.isfinite(seen.loss):
                return seen.step, f"the loss is {seen.loss}"
            overflowed = not math.isfinite(seen.gradient_norm)
            if overflowed and self.job.config.precision != "fp16":
                return seen.step, f"the gradient's norm is {seen.gradient_norm} (the loss {seen.loss:.4f})"
            self._overflows = self._overflows + 1 if overflowed else 0
            if self._overflows == MAX_OVERFLOWS:
                return seen.step, f"fp16 overflowed in {MAX_OVERFLOWS} steps in a row (the loss is {seen.loss:.4f})"
        return None

    def _spikes_among(self, new: list[Seen]) -> list[Spike]:
        mean = self._usual.mean
        if mean is None:
            return []
        return [Spike(seen.step, seen.loss, mean) for seen in new if seen.loss > self.job.config.spike * mean]

    def _stop(self, step: int, what: str) -> None:
        windows = self.ranks.gather(list(self._seen))
        file = f"{STOPPED}/step-{step:08d}.json"
        if self.ranks.is_first:
            held = json.dumps(_window(step, what, windows))
            storage.write_bytes(storage.join(self.job.here, file), f"{held}\n".encode())
        self.ranks.gather(None)  # a rank that raises may end the others
        section = self.job.config.section
        raise WorkError(
            f"step {step}: {what}; {storage.join(self.job.out, file)} holds the steps before it and their samples. The "
            f"checkpoints are sound: try a lower {section}.learning_rate or a longer {section}.warmup_steps in another "
            "work folder"
        )

    def _note(self, spikes: list[Spike], new: list[Seen]) -> None:
        for spike in spikes:
            keys = self.ranks.gather(next(seen.keys for seen in new if seen.step == spike.step))
            if self._spikes is not None:
                ranks = {str(rank): part for rank, part in enumerate(keys)}
                self._spikes.write(spike.step, loss=spike.loss, mean=spike.mean, keys=ranks)
                self.num_spikes += 1


def _window(step: int, what: str, windows: list[list[Seen]]) -> dict[str, object]:
    """What the file of a stop says; numbers that JSON has no word for are written as text."""
    steps = [
        {
            "step": of_ranks[0].step,
            "loss": _number(of_ranks[0].loss),
            "gradient_norm": _number(of_ranks[0].gradient_norm),
            "learning_rate": of_ranks[0].learning_rate,
            "keys": {str(rank): seen.keys for rank, seen in enumerate(of_ranks)},
        }
        for of_ranks in zip(*windows, strict=True)
    ]
    return {"step": step, "stopped": what, "steps": steps}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
