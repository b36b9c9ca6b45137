"""A local mirror of the files that grow while a training runs, such as metrics.jsonl, where the job's folder is on an
object store, which cannot append: they grow on this machine, and are published with each checkpoint and at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from openwit import storage
from train.job import Job

STAYS_HERE = ("torchrun*", "rank_errors/*")


@contextlib.contextmanager
def mirrored(job: Job) -> Iterator[None]:
    """`job.here` holds the published metrics at first, and what is in it at last is published."""
    if storage.is_local(job.out):
        yield
        return
    _fetch(job)
    try:
        yield
    finally:
        publish(job)


def publish(job: Job) -> None:
    """What grew is at `job.out` as it is now."""
    if storage.is_local(job.out):
        return
    for path in sorted(Path(job.here).rglob("*")):
        name = path.relative_to(job.here)
        if path.is_file() and not any(name.match(pattern) for pattern in STAYS_HERE):
            storage.write_bytes(storage.join(job.out, name.as_posix()), path.read_bytes())


def _fetch(job: Job) -> None:
    here = Path(job.here)
    here.mkdir(parents=True, exist_ok=True)
    for path in here.iterdir():  # of another training that was here, or of this one, before it was elsewhere
        if not any(path.match(pattern) for pattern in STAYS_HERE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in storage.list_sizes(job.out):
        if name.endswith(".jsonl"):
            (here / name).write_bytes(storage.read_bytes(storage.join(job.out, name)))
