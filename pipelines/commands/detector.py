"""openwit train-detector: the duplicate detector, trained on the shards' images by torchrun."""

from __future__ import annotations

import fcntl
import posixpath
import shutil
from pathlib import Path

import msgspec

from openwit import storage
from openwit.errors import ConfigError
from pipelines.session import Invocation, require
from train.checkpoints.layout import latest
from train.config import DetectorTrainingConfig
from train.launch.torchrun import Job, launch

MODEL, CONFIG = "model.safetensors", "config.json"  # as models.detector.descriptor reads them


def run_train_detector(invocation: Invocation) -> None:
    """Trains, or goes on from the last checkpoint, then writes detector/model/; --resume insists on a checkpoint."""
    config = invocation.recipe.detector
    if not config.data:
        require(invocation, "shards", "build-dataset")
    out = storage.join(invocation.work, "detector")
    job = Job(data=config.data or (storage.join(invocation.work, "shards"),), exclusions="", out=out, config=config)
    if invocation.resume and not storage.exists(job.checkpoints):
        raise ConfigError(f"--resume: no checkpoint in {out}; leave --resume out to start from the beginning")
    if invocation.dry_run:
        invocation.log.say(
            f"train-detector: {config.duration} in batches of {config.batch_pairs} pairs from {', '.join(job.data)}"
        )
        return
    launch(job, invocation.log)
    checkpoint = latest(job.checkpoints)
    assert checkpoint is not None
    export(checkpoint, config, out)
    invocation.log.say(f"train-detector: {posixpath.basename(checkpoint)} is in {storage.join(out, 'model')}")


def export(checkpoint: str, config: DetectorTrainingConfig, out: str) -> None:
    """Publishes out/model/: the checkpoint's weights and the network's sizes, as load_descriptor reads them. The nodes
    of one training do it one after the other."""
    weights, sizes = (
        storage.join(checkpoint, MODEL),
        msgspec.json.format(msgspec.json.encode({"detector": config.model})),
    )
    if not storage.is_local(out):
        storage.write_bytes(storage.join(out, "model", MODEL), storage.read_bytes(weights))
        storage.write_bytes(storage.join(out, "model", CONFIG), sizes)
        return
    target = Path(storage.local_path(storage.join(out, "model")))
    lock = target.parent / ".lock"  # which the first rank held
    with lock.open("w") as held, storage.scratch_folder(out) as scratch:
        fcntl.flock(held, fcntl.LOCK_EX)
        made = scratch / "model"
        made.mkdir()
        shutil.copyfile(storage.local_path(weights), made / MODEL)
        (made / CONFIG).write_bytes(sizes)
        storage.publish_folder(made, str(target))
