"""What all ranks tell of a training, written by the first."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import torch

from models.clip import Clip
from train.config import AnyTrainingConfig, PretrainConfig
from train.data.batches import Batch, Cursor
from train.job import Job
from train.metrics.flops import peak_flops, training_flops
from train.metrics.loss_monitor import LossMonitor
from train.metrics.metrics import Clock, LiveLine, Metrics, Work, batch_digest, key_sum, of_all_ranks
from train.metrics.trackers import Tracker, open_trackers, require_packages, scalars
from train.optim.optimizer import scheduled_learning_rate
from train.step import Learner, Measured

if TYPE_CHECKING:
    from train.evals.suite import Periodic

EVALS = "evals.jsonl"  # beside metrics.jsonl
MAX_NOTICES = 20


class _Part(NamedTuple):
    """What a rank adds to a line."""

    cursor: Cursor
    notices: list[str]
    key_sum: int
    work: Work


@contextlib.contextmanager
def open_report(job: Job, learner: Learner, start_step: int, num_steps: int) -> Iterator[TrainingReport]:
    """The report of a training that goes on from a step. Raises ConfigError where a tracker's package is missing or
    the evaluations say nothing, InputError where an evaluation set cannot be read."""
    require_packages(job.config)
    with contextlib.ExitStack() as stack:
        trackers = stack.enter_context(open_trackers(job, start_step)) if learner.ranks.is_first else ()
        yield TrainingReport(job, learner, start_step, num_steps, trackers)


@dataclass
class TrainingReport:
    """Metrics of all ranks, written by the first."""

    job: Job
    learner: Learner
    start_step: int
    num_steps: int
    trackers: tuple[Tracker, ...] = ()
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ranks = self.learner.ranks
        self.clock = Clock()
        self.monitor = LossMonitor(self.job, self.ranks, self.start_step)
        self.metrics = Metrics(Path(self.job.metrics), self.start_step) if self._writes else None
        self.evals = _evaluations(self.job)
        self.scores = Metrics(Path(self.job.here) / EVALS, self.start_step) if self._writes and self.evals else None
        self.line = LiveLine(sys.stderr, self.job.config.command, self.num_steps)
        name = torch.cuda.get_device_name(self.ranks.device) if self.ranks.device.type == "cuda" else "cpu"
        self.peak_flops = peak_flops(name, self.job.config)

    @property
    def _writes(self) -> bool:
        return self.ranks.is_first

    def add(self, step: int, measured: Measured, batch: Batch) -> None:
        """One more step. Each is added; its loss is checked later: see `check`."""
        self.clock.step()
        self.notices.extend(batch.notices)
        rate = scheduled_learning_rate(step, self.num_steps, self.job.config)
        self.monitor.add(step, measured, rate, batch.keys)

    def check(self) -> None:
        """Raises WorkError where the loss of a step is no number. All ranks call it, before weights are saved."""
        self.monitor.check()

    def write(self, step: int, measured: Measured, batch: Batch, waited_s: float) -> None:
        """One line of metrics for the step, which was added; `waited_s`: for batches since the last line. All ranks
        call it; raises WorkError as `check` does."""
        self.check()
        config = self.job.config
        lap = self.clock.lap(config.batch_pairs, waited_s)
        own_s = self.learner.straggler_timer.lap() + lap["data_wait_share"] * lap["step_s"]
        work = Work(own_s, lap["data_wait_share"], _memory_gb(self.ranks.device))
        parts = self.ranks.gather(_Part(batch.cursor, self.notices, key_sum(batch.keys), work))
        self.notices = []
        loss = measured.loss.item()
        self.monitor.logged(loss)
        if self.metrics is None:
            return
        record = self.metrics.write(
            step,
            epoch=batch.epoch,
            samples=step * config.batch_pairs,
            batch=batch_digest(part.key_sum for part in parts),
            loss=loss,
            **self.learner.objective.measures(self.learner.model),
            learning_rate=scheduled_learning_rate(step, self.num_steps, config),
            gradient_norm=_finite(measured.gradient_norm.item()),
            **self.learner.measures(step),
            spikes=self.monitor.num_spikes,
            **_damage(parts),
            **lap,
            **self._mfu(lap["samples_per_s"], batch),
            **of_all_ranks([part.work for part in parts]),
        )
        self.line.show(record)
        self._track(step, record)

    def evaluate(self, step: int) -> None:
        """One line of scores for the weights after the step. All ranks call it where there are `evals`; raises
        WorkError as `check` does. Its time counts for no step."""
        assert self.evals is not None
        self.check()
        before = time.perf_counter()
        scores = self.evals.run(cast(Clip, self.learner.model), self.ranks)
        self.clock.leave_out(time.perf_counter() - before)
        if self.scores is not None:
            self._track(step, {"eval": scores})
            self.scores.write(step, **scores)

    def _mfu(self, samples_per_s: float, batch: Batch) -> dict[str, float]:
        """Nothing where nobody knows the device's peak."""
        if self.peak_flops is None:
            return {}
        per_sample = training_flops(self.job.config, _text_tokens(self.job.config, batch))
        return {"mfu": round(samples_per_s * per_sample / (self.peak_flops * self.ranks.num_ranks), 4)}

    def _track(self, step: int, record: dict[str, object]) -> None:
        for tracker in self.trackers:
            tracker.write(step, scalars(record))


def _evaluations(job: Job) -> Periodic | None:
    """Those while it trains, if the config wants any."""
    if not isinstance(job.config, PretrainConfig) or not job.config.eval_every:
        return None
    from train.evals.suite import Periodic  # scikit-learn takes a second to import

    return Periodic(job.config, job.evals)


def _damage(parts: list[_Part]) -> dict[str, object]:
    """Skipped samples by reason since training began, and some that were met since the last line, by name."""
    skipped: Counter[str] = Counter()
    for part in parts:
        for lane in part.cursor.lanes.values():
            skipped.update(lane.skipped)
    damaged = sorted(notice for part in parts for notice in part.notices)
    return {"skipped": dict(sorted(skipped.items())), "damaged": damaged[:MAX_NOTICES]}


def _finite(norm: float) -> float | None:
    """None where fp16 overflowed: JSON has no word for it."""
    return norm if math.isfinite(norm) else None


def _text_tokens(config: AnyTrainingConfig, batch: Batch) -> float:
    """The mean length of the batch's captions, start and end token included."""
    if not isinstance(config, PretrainConfig):
        return 0.0
    return (batch.inputs[1].argmax(dim=-1) + 1).double().mean().item()


def _memory_gb(device: torch.device) -> float:
    """The most that this rank ever held, of the GPU's memory or, on a CPU, of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e9
