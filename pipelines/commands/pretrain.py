"""openwit pretrain: contrastive training on the shards, by torchrun or by Ray Train."""

from __future__ import annotations

import dataclasses
import posixpath
import shlex

from openwit import storage
from openwit.errors import ConfigError, InputError
from openwit.manifest import MANIFEST
from pipelines.session import Invocation, require
from train.checkpoints.layout import latest, steps
from train.config import PretrainConfig
from train.job import RECORD, Job, read_record
from train.mixture import parse_entries


def run_pretrain(invocation: Invocation) -> None:
    """Trains, or goes on from the last checkpoint; --resume insists that there is one."""
    config = invocation.recipe.pretrain
    if invocation.dry_run:
        _forecast(invocation)
        return
    if not config.data:
        require(invocation, "shards", "build-dataset")
    job = job_of(invocation)
    if invocation.resume and latest(job.checkpoints) is None:
        raise ConfigError(f"--resume: no checkpoint in {job.out}; leave --resume out to start from the beginning")
    if invocation.recipe.launcher == "ray":
        from train.launch.ray import launch_on_ray

        launch_on_ray(job, invocation.recipe.overlap_executor, invocation.log)
        return
    from train.launch.torchrun import launch

    launch(job, invocation.log)


def job_of(invocation: Invocation) -> Job:
    """The recipe's training job in its work folder. Raises ConfigError where it is not plain which captions are
    excluded, InputError where the model to begin with is still to be trained."""
    config = invocation.recipe.pretrain
    data = config.data or (storage.join(invocation.work, "shards"),)
    out = storage.join(invocation.work, "pretrain")
    config = dataclasses.replace(config, initial=_initial(config.initial, out))
    exclusions = _exclusions(invocation.work, data)
    return Job(data=data, exclusions=exclusions, out=out, config=config, evals=invocation.recipe.evaluate)


def _initial(initial: str, out: str) -> str:
    """The model to begin with: of a folder of checkpoints the last; where training has begun, the one that was."""
    if posixpath.basename(initial.rstrip("/")) != "checkpoints":
        return initial
    if latest(storage.join(out, "checkpoints")) and storage.exists(storage.join(out, RECORD)):
        begun = read_record(storage.join(out, RECORD)).job.config
        if isinstance(begun, PretrainConfig) and posixpath.dirname(begun.initial) == storage.absolute(initial):
            return begun.initial
    last = latest(initial)
    if last is None:
        work = posixpath.dirname(posixpath.dirname(initial.rstrip("/")))
        first = f"openwit pretrain {posixpath.basename(work)} --work {shlex.quote(work)}"
        raise InputError(
            f"{initial}: holds no checkpoint to begin with; run {first} first, or give --pretrain.initial MODEL"
        )
    return last


def _exclusions(work: str, data: tuple[str, ...]) -> str:
    """The captions not to train on: what dedup-check wrote in this work folder, else in the one that the shards lie in;
    empty where it was not run."""
    own = storage.join(work, "duplicates", "exclusions.parquet")
    if storage.exists(own):
        return own
    folders = [posixpath.dirname(entry.folder.rstrip("/")) for entry in parse_entries(data)]
    beside = [storage.join(folder, "duplicates", "exclusions.parquet") for folder in folders]
    found = [url for url in dict.fromkeys(beside) if storage.exists(url)]
    if len(found) > 1:
        raise ConfigError(f"pretrain.data: {' and '.join(found)} both exclude captions; put their rows into {own}")
    return found[0] if found else ""


def _forecast(invocation: Invocation) -> None:
    """Says what the training will cost, on the shards or, before there are any, on as many pairs as the paper's."""
    from models.tokenizer.tokenizer import Tokenizer
    from pipelines.cost.pretrain import WIT_PAIRS, forecast, lines
    from train.data.dataset import open_data_set

    recipe, say = invocation.recipe, invocation.log.say
    config = recipe.pretrain
    if config.merges:
        Tokenizer.of(config.model.text, config.merges)  # refuses a vocabulary that the model does not know
    data = config.data or (storage.join(invocation.work, "shards"),)
    if all(storage.exists(storage.join(entry.folder, MANIFEST)) for entry in parse_entries(data)):
        data_set = open_data_set(data, _exclusions(invocation.work, data))
        per_epoch = data_set.steps_per_epoch(config.batch_pairs, config.stream.num_lanes)
        told = f"{data_set.num_samples:,} samples"
    else:
        per_epoch = WIT_PAIRS // config.batch_pairs
        told = f"{WIT_PAIRS:,} samples (assumed, as in the paper: there are no shards yet)"
    say(f"pretrain {recipe.name}: {config.duration} in batches of {config.batch_pairs} pairs from {', '.join(data)}")
    done = steps(storage.join(invocation.work, "pretrain", "checkpoints"))
    say(f"{told}, {per_epoch:,} steps an epoch" + (f"; {done[-1]:,} steps are done" if done else ""))
    for line in lines(config, forecast(config, per_epoch)):
        say(line)
    if not config.data:
        require(invocation, "shards", "build-dataset")
