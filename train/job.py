"""A training job: what to learn from, where to, and how. Its record in the output folder keeps jobs apart."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from openwit import storage
from openwit.config import IsDataclass, describe, from_json, to_json
from openwit.errors import ConfigError
from train.config import AnyTrainingConfig, PretrainConfig
from train.data.dataset import data_digest
from train.evals.config import EvaluateConfig
from train.mixture import parse_entries
from train.objectives.warm_start import initial_digest

RECORD = "config.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    data: tuple[str, ...]  # folders of shards with a manifest, any fsspec URLs; FOLDER=PASSES an epoch, 1 if left out
    exclusions: str  # parquet file whose column uid names captions not to train on; empty: all are used
    out: str  # folder for config.json, metrics.jsonl and checkpoints/, any fsspec URL
    config: AnyTrainingConfig  # its type says what is learned
    evals: EvaluateConfig | None = None  # what a CLIP is tested on while it trains

    @property
    def summary(self) -> str:
        """How long it trains, and on what."""
        return f"{self.config.duration} in batches of {self.config.batch_pairs} pairs from {', '.join(self.data)}"

    @property
    def checkpoints(self) -> str:
        """The folder of checkpoints."""
        return storage.join(self.out, "checkpoints")

    @property
    def here(self) -> str:
        """The folder of this machine for files that grow: `out`, or where that is remote one whose files are published
        with each checkpoint (train.metrics.mirror)."""
        if storage.is_local(self.out):
            return storage.local_path(self.out)
        name = hashlib.blake2b(self.out.encode(), digest_size=8).hexdigest()
        return os.path.join(tempfile.gettempdir(), f"openwit-{name}")

    @property
    def metrics(self) -> str:
        """The file of metrics, on this machine."""
        return storage.join(self.here, "metrics.jsonl")


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """config.json: the job, and digests of what it read."""

    job: Job
    data_digest: str
    exclusions_digest: str
    merges_digest: str = ""  # of a vocabulary of one's own
    initial_digest: str = ""  # of a model to begin with


def make_record(job: Job) -> JobRecord:
    """The record of a job. Raises InputError where the data set, the exclusions, the vocabulary or the model to begin
    with are missing."""
    merges, initial = (job.config.merges, job.config.initial) if isinstance(job.config, PretrainConfig) else ("", "")
    excluded = storage.identity(job.exclusions) if job.exclusions else ""
    return JobRecord(
        job=job,
        data_digest=data_digest(job.data),
        exclusions_digest=excluded,
        merges_digest=storage.identity(merges) if merges else "",
        initial_digest=initial_digest(initial) if initial else "",
    )


def read_record(url: str) -> JobRecord:
    """The record at the URL. Raises InputError where it is missing, ConfigError where another version wrote it."""
    try:
        return from_json(JobRecord, storage.read_bytes(url))
    except ConfigError as error:
        raise ConfigError(f"{url}: does not hold a training job of this version ({error})") from None


def write_record(record: JobRecord) -> str:
    """Publishes config.json in the job's folder; gives its URL."""
    url = storage.join(record.job.out, RECORD)
    storage.write_bytes(url, to_json(record))
    return url


def require_same(before: JobRecord, now: JobRecord) -> None:
    """Raises ConfigError where the folder's checkpoints come from another job: says what differs, what to do."""
    out = now.job.out
    elsewhere = f"take another --work, or delete {out}"
    section = now.job.config.section
    if before.job.config.section != section:
        raise ConfigError(f"{out}: holds checkpoints of {before.job.config.command}; {elsewhere}")
    for path, old, new in _differences(before.job.config, now.job.config):
        raise ConfigError(
            f"{section}.{path}={new}: the checkpoints in {out} were trained with {old}; "
            f"write --{section}.{path} {shlex.quote(str(old))} to go on with them, {elsewhere}"
        )
    if before.data_digest != now.data_digest:
        raise ConfigError(
            f"{', '.join(now.job.data)}: is not the data that the checkpoints in {out} saw, or not in the same passes; "
            f"{elsewhere}"
        )
    if before.exclusions_digest != now.exclusions_digest:
        raise ConfigError(f"the exclusions changed since the checkpoints in {out} were trained; {elsewhere}")
    if before.merges_digest != now.merges_digest:
        raise ConfigError(f"the vocabulary changed since the checkpoints in {out} were trained; {elsewhere}")
    if before.initial_digest != now.initial_digest:
        raise ConfigError(f"the model to begin with changed since the checkpoints in {out} were trained; {elsewhere}")


def _differences(before: IsDataclass, now: IsDataclass) -> Iterator[tuple[str, object, object]]:
    old, new = ({entry.path: entry.value for entry in describe(it) if not entry.free} for it in (before, now))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield path, old.get(path), new.get(path)


def on_this_machine(job: Job) -> Job:
    """The job with absolute local paths, for a process in another folder."""
    config = job.config
    if isinstance(config, PretrainConfig):
        config = dataclasses.replace(config, merges=_absolute(config.merges), initial=_absolute(config.initial))
    evals = job.evals
    if evals is not None:
        evals = dataclasses.replace(evals, zero_shot_set=_absolute(evals.zero_shot_set))
    data = tuple(str(entry.on_this_machine) for entry in parse_entries(job.data))
    exclusions, out = _absolute(job.exclusions), _absolute(job.out)
    return dataclasses.replace(job, config=config, evals=evals, data=data, exclusions=exclusions, out=out)


def _absolute(url: str) -> str:
    return storage.local_path(url) if url and storage.is_local(url) else url
