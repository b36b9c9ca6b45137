"""The training loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from openwit.errors import ConfigError, WorkError
from openwit.storage import work_lock
from train.checkpoints.checkpoints import Checkpoints, State, restore
from train.checkpoints.layout import clear_unfinished
from train.data.batches import Batches
from train.data.dataset import open_data_set
from train.data.loader import Cursor
from train.job import Job
from train.launch.preemption import PreemptionVote, Stopped
from train.metrics.mirror import mirrored, publish
from train.metrics.report import open_report
from train.objective import objective_of
from train.optim.optimizer import build_optimizer, scheduled_learning_rate
from train.ranks import Ranks
from train.step import Learner

LOCK_WAIT_S = 10.0


def train(job: Job, ranks: Ranks) -> None:
    """Trains from the last checkpoint, or the beginning, to the last step. Every rank calls it.

    Raises WorkError where the loss is no number or another run holds the folder, ConfigError where the data set is
    smaller than a global batch, InputError where it cannot be read, Stopped where SIGTERM came and the step is saved.
    """
    config = job.config
    with _sole_writer(job, ranks):
        ranks.gather(None)  # nobody looks for checkpoints before the first rank may write
        learner, start = _begin_or_go_on(job, ranks)
        data_set = open_data_set(job.data, job.exclusions)
        with (
            Batches(data_set, config, ranks.rank, ranks.num_ranks, start, ranks.device) as batches,
            Checkpoints(job.checkpoints, ranks, config.keep_last, lambda: publish(job)) as checkpoints,
            open_report(job, ranks, learner, start.step, config.num_steps(batches.steps_per_epoch)) as report,
        ):
            vote = PreemptionVote(ranks)
            step, num_steps = start.step, report.num_steps
            for step in range(start.step + 1, num_steps + 1):
                batch = report.timed_next(batches)
                measured = learner.step(batch, scheduled_learning_rate(step, num_steps, config))
                report.see(step, measured, batch)
                if due(step, config.log_every, num_steps):
                    report.write(step, measured, batch)
                if report.evals and due(step, report.evals.every, num_steps):
                    report.evaluate(step)
                stopping = vote.stop_now()
                if stopping or due(step, config.save_every, num_steps):
                    report.check()
                    state = State(config=config, cursor=_whole_cursor(batch.cursor, ranks), scaler=learner.scaler_state)
                    checkpoints.save(state, learner.model, learner.optimizer)
                if stopping:
                    break
    if step < num_steps:
        raise Stopped(f"{config.command}: stopped at step {step} by SIGTERM; the same command goes on")


def _begin_or_go_on(job: Job, ranks: Ranks) -> tuple[Learner, Cursor]:
    """What learns, new or from the last checkpoint, and where it stands."""
    torch.manual_seed(job.config.seed)
    torch.use_deterministic_algorithms(ranks.device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    objective = objective_of(job.config)
    model = objective.build().to(ranks.device)
    optimizer = build_optimizer(model, job.config)
    before = restore(job.checkpoints, model, optimizer)
    if before is None:
        objective.warm_start(model)
    learner = Learner(job.config, objective, model, optimizer, ranks)
    if before and before.scaler and learner.scaler:
        learner.scaler.load_state_dict(before.scaler)
    return learner, before.cursor if before else Cursor()


def due(step: int, every: int, num_steps: int) -> bool:
    """Whether something done every so many steps, and at the last, is to be done."""
    return step % every == 0 or step == num_steps


def _whole_cursor(cursor: Cursor, ranks: Ranks) -> Cursor:
    parts = ranks.gather(cursor)
    lanes = {lane: at for part in parts for lane, at in part.lanes.items()}
    return Cursor(cursor.step, dict(sorted(lanes.items())))


@contextlib.contextmanager
def _sole_writer(job: Job, ranks: Ranks) -> Iterator[None]:
    """Holds the output folder, cleared of what a killed run left half-done."""
    if not ranks.is_first:
        yield
        return
    with contextlib.ExitStack() as stack:
        end = time.monotonic() + LOCK_WAIT_S  # ranks of a killed run may live for another moment
        while True:
            try:
                stack.enter_context(work_lock.holding(job.out))
                break
            except ConfigError:
                if time.monotonic() > end:
                    raise WorkError(f"{job.out}: another run is training here; wait for it, or stop it") from None
                time.sleep(0.1)
        clear_unfinished(job.checkpoints)
        stack.enter_context(mirrored(job))
        yield
