"""openwit pretrain: contrastive training on the shards, by torchrun."""

from __future__ import annotations

from openwit import storage
from openwit.errors import ConfigError
from pipelines.session import Invocation, require
from train.launch import Job, launch


def job_of(invocation: Invocation) -> Job:
    """The recipe's training job in its work folder."""
    config = invocation.recipe.pretrain
    exclusions = storage.join(invocation.work, "duplicates", "exclusions.parquet")
    return Job(
        data=config.data or (storage.join(invocation.work, "shards"),),
        exclusions=exclusions if storage.exists(exclusions) else "",
        out=storage.join(invocation.work, "pretrain"),
        config=config,
    )


def command(invocation: Invocation) -> None:
    """Trains, or goes on from the last checkpoint; --resume insists that there is one."""
    if not invocation.recipe.pretrain.data:
        require(invocation, "shards", "build-dataset")
    job = job_of(invocation)
    if invocation.resume and not storage.exists(storage.join(job.out, "checkpoints")):
        raise ConfigError(f"--resume: no checkpoint in {job.out}; leave --resume out to start from the beginning")
    if invocation.dry_run:
        invocation.log.say(
            f"pretrain: {job.config.duration} in batches of {job.config.batch_pairs} pairs from {', '.join(job.data)}"
        )
        return
    launch(job, invocation.log)
