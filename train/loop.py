"""The training loop."""

from __future__ import annotations

import contextlib
import fcntl
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openwit import storage
from openwit.errors import WorkError
from train import checkpoint
from train.batches import Batch, Batches, Cursor
from train.checkpoint_files import latest
from train.config import AnyTrainingConfig
from train.job import Job
from train.loss import contrastive_loss
from train.metrics import Clock, LiveLine, Metrics
from train.objective import Keyed, Objective, objective_of
from train.optimizer import build_optimizer, scheduled_learning_rate, set_learning_rate
from train.ranks import Ranks
from train.shards import open_data_set

LOCK_WAIT_S = 10.0
MAX_NOTICES = 20


def train(job: Job, ranks: Ranks) -> None:
    """Trains from the last checkpoint, or the beginning, to the last step. Every rank calls it.

    Raises WorkError where the loss is no number or another run holds the folder, ConfigError where the data set is
    smaller than a global batch, InputError where it cannot be read.
    """
    config = job.config
    with _sole_writer(job, ranks):
        ranks.gather(None)  # nobody looks for checkpoints before the first rank may write
        torch.manual_seed(config.seed)
        torch.use_deterministic_algorithms(ranks.device.type == "cpu")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        objective = objective_of(config)
        model = objective.build().to(ranks.device)
        optimizer = build_optimizer(model, config)
        start = _resume(job, model, optimizer)
        network = _distribute(model, objective, ranks)
        report = Report(job, ranks, objective, model, start.step)
        data_set = open_data_set(job.data, job.exclusions)

        with Batches(data_set, config, ranks.rank, ranks.num_ranks, start) as batches:
            for step in range(start.step + 1, config.num_steps + 1):
                batch = report.timed_next(batches)
                set_learning_rate(optimizer, scheduled_learning_rate(step, config))
                loss = train_step(network, objective, batch, optimizer, config)
                _require_finite(loss, step, batch, config.section)
                if due(step, config.log_every, config.num_steps):
                    report.write(step, loss, batch)
                if due(step, config.save_every, config.num_steps):
                    cursor = _whole_cursor(batch.cursor, ranks)
                    if ranks.is_first:
                        state = checkpoint.State(config=config, cursor=cursor)
                        checkpoint.save(job.checkpoints, state, model, optimizer, config.keep_last)


def train_step(
    network: nn.Module,
    objective: Objective[Keyed],
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    config: AnyTrainingConfig,
) -> float:
    """The global batch's mean loss before the step; the weights are moved, the gradients still there."""
    model = network.module if isinstance(network, DistributedDataParallel) else network
    device = next(model.parameters()).device
    optimizer.zero_grad()
    inputs = objective.prepare(tuple(part.to(device, non_blocking=True) for part in batch.inputs))
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        one_BD, other_BD, scale = network(*inputs)
    loss = contrastive_loss(one_BD.float(), other_BD.float(), scale.float(), impl=config.loss)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    objective.after_step(model)
    return loss.item()


def due(step: int, every: int, num_steps: int) -> bool:
    """Whether something done every so many steps, and at the last, is to be done."""
    return step % every == 0 or step == num_steps


def _resume(job: Job, model: nn.Module, optimizer: torch.optim.Optimizer) -> Cursor:
    folder = latest(job.checkpoints)
    if folder is None:
        return Cursor()
    checkpoint.load_weights(folder, model)
    checkpoint.load_optimizer(folder, model, optimizer)
    return checkpoint.load_state(folder).cursor


def _distribute(model: nn.Module, objective: Objective[Keyed], ranks: Ranks) -> nn.Module:
    """The model with its gradients averaged over the ranks."""
    if ranks.num_ranks == 1:
        return model
    network = DistributedDataParallel(model, gradient_as_bucket_view=True)
    # DDP groups gradients anew after its first backward pass, and groups decide the order of sums. A pass without a
    # step puts that behind, so the first step after a resume sums as it would have without the kill. Batch norms must
    # not count it.
    network.eval()
    inputs = objective.prepare(tuple(part.to(ranks.device) for part in objective.blank()))
    one_BD, other_BD, scale = network(*inputs)
    ((one_BD * other_BD).sum() * scale).backward()
    network.train()  # type: ignore[no-untyped-call]
    return network


def _require_finite(loss: float, step: int, batch: Batch, section: str) -> None:
    if not math.isfinite(loss):
        raise WorkError(
            f"step {step}: the loss is {loss}; the batch began with sample {batch.keys[0]}. The checkpoints before are "
            f"sound: try a lower {section}.learning_rate or a longer {section}.warmup_steps in another work folder"
        )


def _whole_cursor(cursor: Cursor, ranks: Ranks) -> Cursor:
    parts = ranks.gather(cursor)
    lanes = {lane: at for part in parts for lane, at in part.lanes.items()}
    return Cursor(cursor.step, dict(sorted(lanes.items())))


@contextlib.contextmanager
def _sole_writer(job: Job, ranks: Ranks) -> Iterator[None]:
    """Holds the output folder. Ranks of a killed run may live for another moment, so it waits a little."""
    if not ranks.is_first:
        yield
        return
    path = Path(storage.local_path(job.out)) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        end = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise WorkError(f"{job.out}: another run is training here; wait for it, or stop it") from None
                time.sleep(0.1)
        storage.clear_scratch(job.checkpoints)
        yield


@dataclass
class Report:
    """Metrics of all ranks, written by the first."""

    job: Job
    ranks: Ranks
    objective: Objective[Keyed]
    model: nn.Module
    start_step: int
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock()
        path = Path(storage.local_path(self.job.metrics))
        self.metrics = Metrics(path, self.start_step) if self.ranks.is_first else None
        self.line = LiveLine(sys.stderr, self.job.config.command, self.job.config.num_steps)

    def timed_next(self, batches: Batches) -> Batch:
        """The next batch; the time that it was waited for is counted."""
        before = time.perf_counter()
        batch = next(batches)
        self.clock.step(time.perf_counter() - before)
        self.notices.extend(batch.notices)
        return batch

    def write(self, step: int, loss: float, batch: Batch) -> None:
        """One line of metrics for the step. All ranks call it."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
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
            loss=loss,
            **self.objective.measures(self.model),
            learning_rate=scheduled_learning_rate(step, config),
            gradient_norm=norm,
            skipped=dict(sorted(skipped.items())),
            damaged=damaged[:MAX_NOTICES],
            **self.clock.lap(config.batch_pairs),
        )
        self.line.show(record)
