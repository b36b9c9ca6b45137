"""What all ranks tell of a training, written by the first."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from openwit import storage
from openwit.errors import WorkError
from train.batches import Batch, Batches
from train.job import Job
from train.metrics import Clock, LiveLine, Metrics
from train.objective import Keyed, Objective
from train.optimizer import scheduled_learning_rate
from train.ranks import Ranks
from train.step import Measured

MAX_NOTICES = 20


@dataclass
class Report:
    """Metrics of all ranks, written by the first."""

    job: Job
    ranks: Ranks
    objective: Objective[Keyed]
    model: nn.Module
    start_step: int
    num_steps: int
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        path = Path(storage.local_path(self.job.metrics))
        self.metrics = Metrics(path, self.start_step) if self.ranks.is_first else None
        self.line = LiveLine(sys.stderr, self.job.config.command, self.num_steps)

    def timed_next(self, batches: Batches) -> Batch:
        """The next batch; the time that it was waited for is counted."""
        before = time.perf_counter()
        batch = next(batches)
        self.clock.step(time.perf_counter() - before)
        self.notices.extend(batch.notices)
        return batch

    def check(self, step: int, measured: Measured, batch: Batch) -> None:
        """Raises WorkError where the loss is no number."""
        _require_finite(measured.loss.item(), step, batch, self.job.config.section)

    def write(self, step: int, measured: Measured, batch: Batch) -> None:
        """One line of metrics for the step. All ranks call it."""
        parts = self.ranks.gather((batch.cursor, self.notices))
        self.notices = []
        skipped: Counter[str] = Counter()
        for cursor, _ in parts:
            for lane in cursor.lanes.values():
                skipped.update(lane.skipped)
        damaged = sorted(notice for _, notices in parts for notice in notices)
        if self.metrics is None:
            return
        config = self.job.config
        record = self.metrics.write(
            step,
            epoch=batch.epoch,
            samples=step * config.batch_pairs,
            loss=measured.loss.item(),
            **self.objective.measures(self.model),
            learning_rate=scheduled_learning_rate(step, self.num_steps, config),
            gradient_norm=measured.gradient_norm.item(),
            skipped=dict(sorted(skipped.items())),
            damaged=damaged[:MAX_NOTICES],
            **self.clock.lap(config.batch_pairs),
        )
        self.line.show(record)


def _require_finite(loss: float, step: int, batch: Batch, section: str) -> None:
    if not math.isfinite(loss):
        raise WorkError(
            f"step {step}: the loss is {loss}; the batch began with sample {batch.keys[0]}. The checkpoints before are "
            f"sound: try a lower {section}.learning_rate or a longer {section}.warmup_steps in another work folder"
        )
