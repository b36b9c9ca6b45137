"""The training loop."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from openwit import storage
from openwit.errors import WorkError
from train import checkpoint
from train.batches import Batches, Cursor
from train.checkpoint_files import latest
from train.job import Job
from train.objective import objective_of
from train.optimizer import build_optimizer, scheduled_learning_rate
from train.ranks import Ranks
from train.report import Report
from train.shards import open_data_set
from train.step import Learner

LOCK_WAIT_S = 10.0


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
        learner = Learner(config, objective, model, optimizer, ranks)

        with Batches(open_data_set(job.data, job.exclusions), config, ranks.rank, ranks.num_ranks, start) as batches:
            num_steps = config.num_steps(batches.steps_per_epoch)
            report = Report(job, ranks, objective, model, start.step, num_steps)
            for step in range(start.step + 1, num_steps + 1):
                batch = report.timed_next(batches)
                measured = learner.step(batch, scheduled_learning_rate(step, num_steps, config))
                report.check(step, measured, batch)
                if due(step, config.log_every, num_steps):
                    report.write(step, measured, batch)
                if due(step, config.save_every, num_steps):
                    cursor = _whole_cursor(batch.cursor, ranks)
                    if ranks.is_first:
                        state = checkpoint.State(config=config, cursor=cursor)
                        checkpoint.save(job.checkpoints, state, model, optimizer, config.keep_last)


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
