"""The training loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch

from openwit.errors import ConfigError, WorkError
from openwit.storage import work_lock
from train.checkpoints.checkpoints import Checkpoints, State, restore
from train.checkpoints.layout import clear_unfinished
from train.config import AnyTrainingConfig, PretrainConfig
from train.data.batches import Cursor, LoaderSpec
from train.data.dataset import open_data_set
from train.data.loader import BatchLoader
from train.job import Job
from train.launch.preemption import PreemptionVote, Stopped
from train.metrics.mirror import mirrored, publish
from train.metrics.report import open_report
from train.objective import Objective
from train.objectives.clip import ClipObjective
from train.objectives.detector import DetectorObjective
from train.optim.optimizer import build_optimizer, scheduled_learning_rate, set_learning_rate
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
        objective = objective_of(config)
        learner, start = _begin_or_resume(job, objective, ranks)
        data_set = open_data_set(job.data, job.exclusions)
        num_steps = config.num_steps(data_set.steps_per_epoch(config.batch_pairs, config.stream.num_lanes))
        part = LoaderSpec(
            data_set=data_set, objective=objective, rank=ranks.rank, num_ranks=ranks.num_ranks, start=start,
            device=ranks.device,
        )  # fmt: skip
        with (
            BatchLoader(part) as batches,
            Checkpoints(job.checkpoints, ranks, config.keep_last, lambda: publish(job)) as checkpoints,
            open_report(job, learner, start.step, num_steps) as report,
        ):
            vote, step = PreemptionVote(ranks), start.step
            for step in range(start.step + 1, num_steps + 1):
                batch = next(batches)
                set_learning_rate(learner.optimizer, scheduled_learning_rate(step, num_steps, config))
                measured = learner.train_step(batch)
                report.add(step, measured, batch)
                if due(step, config.log_every, num_steps):
                    report.write(step, measured, batch, batches.lap_waited_s())
                if report.evals and due(step, report.evals.every, num_steps):
                    report.evaluate(step)  # before the checkpoint: a run that goes on from it has these scores
                stopping = vote.stop_now()
                if stopping or due(step, config.save_every, num_steps):
                    report.check()
                    checkpoints.save(_state(learner, batch.cursor), learner.model, learner.optimizer)
                if stopping:
                    break
    if step < num_steps:
        raise Stopped(f"{config.command}: stopped at step {step} by SIGTERM; the same command goes on")


def objective_of(config: AnyTrainingConfig) -> Objective[Any]:
    """What the config is for: learning a CLIP, or the duplicate detector."""
    return ClipObjective(config) if isinstance(config, PretrainConfig) else DetectorObjective(config)


def _begin_or_resume(job: Job, objective: Objective[Any], ranks: Ranks) -> tuple[Learner, Cursor]:
    """What learns, new or from the last checkpoint, and where it stands."""
    torch.manual_seed(job.config.seed)
    torch.use_deterministic_algorithms(ranks.device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    model = objective.build().to(ranks.device)
    optimizer = build_optimizer(model, job.config)
    before = restore(job.checkpoints, model, optimizer)
    if before is None:
        objective.warm_start(model)
    learner = Learner(objective, model, optimizer, ranks)
    if before and before.scaler and learner.scaler:
        learner.scaler.load_state_dict(before.scaler)
    return learner, before.cursor if before else Cursor()


def _state(learner: Learner, own: Cursor) -> State:
    """What a checkpoint holds beside tensors, with the lanes of all ranks; each of them calls it."""
    lanes = {lane: at for cursor in learner.ranks.gather(own) for lane, at in cursor.lanes.items()}
    cursor = Cursor(own.step, dict(sorted(lanes.items())))
    return State(config=learner.config, cursor=cursor, scaler=learner.scaler_state)


def due(step: int, every: int, num_steps: int) -> bool:
    """Whether something done every so many steps, and at the last, is to be done."""
    return step % every == 0 or step == num_steps


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
