"""A training job: what to learn from, where to, and how. Its record in the output folder keeps jobs apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from openwit import storage
from openwit.config import IsDataclass, describe, from_json, to_json
from openwit.errors import ConfigError
from train.config import AnyTrainingConfig, PretrainConfig
from train.shards import data_digest

RECORD = "config.json"
# Fields that change neither what is learned nor its order (another number of ranks changes rounding only), so a run
# may go on with other values.
FREE_FIELDS = frozenset(
    {
        "checkpoint_blocks",
        "ranks",
        "nodes",
        "rendezvous",
        "log_every",
        "save_every",
        "keep_last",
        "spike",
        "tensorboard",
        "wandb_project",
        "peak_tflops",
        "eval_every",
        "stream.threads",
        "stream.read_ahead",
        "stream.cache_decoded_mb",
        "stream.remote_ahead_mb",
        "stream.remote_patience_s",
    }
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    data: tuple[str, ...]  # folders of shards with a manifest, any fsspec URLs; FOLDER=PASSES an epoch, 1 if left out
    exclusions: str  # parquet file whose column uid names captions not to train on; empty: all are used
    out: str  # local folder for config.json, metrics.jsonl and checkpoints/
    config: AnyTrainingConfig  # its type says what is learned

    @property
    def summary(self) -> str:
        """How long it trains, and on what."""
        return f"{self.config.duration} in batches of {self.config.batch_pairs} pairs from {', '.join(self.data)}"

    @property
    def checkpoints(self) -> str:
        """The folder of checkpoints."""
        return storage.join(self.out, "checkpoints")

    @property
    def metrics(self) -> str:
        """The file of metrics."""
        return storage.join(self.out, "metrics.jsonl")


@dataclass(frozen=True, kw_only=True)
class Record:
    """config.json: the job, and digests of what it read."""

    job: Job
    data_digest: str
    exclusions_digest: str
    merges_digest: str = ""  # of a vocabulary of one's own


def make_record(job: Job) -> Record:
    """The record of a job. Raises InputError where the data set, the exclusions or the vocabulary are missing."""
    merges = job.config.merges if isinstance(job.config, PretrainConfig) else ""
    excluded = storage.identity(job.exclusions) if job.exclusions else ""
    return Record(
        job=job,
        data_digest=data_digest(job.data),
        exclusions_digest=excluded,
        merges_digest=storage.identity(merges) if merges else "",
    )


def read_record(url: str) -> Record:
    """The record at the URL. Raises InputError where it is missing, ConfigError where another version wrote it."""
    try:
        return from_json(Record, storage.read_bytes(url))
    except ConfigError as error:
        raise ConfigError(f"{url}: does not hold a training job of this version ({error})") from None


def write_record(record: Record) -> str:
    """Publishes config.json in the job's folder; gives its URL."""
    url = storage.join(record.job.out, RECORD)
    storage.write_bytes(url, to_json(record))
    return url


def require_same(before: Record, now: Record) -> None:
    """Raises ConfigError where the folder's checkpoints come from another job: says what differs, what to do."""
    out = now.job.out
    elsewhere = f"take another --work, or delete {out}"
    section = now.job.config.section
    if before.job.config.section != section:
        raise ConfigError(f"{out}: holds checkpoints of {before.job.config.command}; {elsewhere}")
    for path, old, new in _differences(before.job.config, now.job.config):
        raise ConfigError(
            f"{section}.{path}={new}: the checkpoints in {out} were trained with {old}; "
            f"write --{section}.{path} {old} to go on with them, {elsewhere}"
        )
    if before.data_digest != now.data_digest:
        raise ConfigError(f"{', '.join(now.job.data)}: is not the data that the checkpoints in {out} saw; {elsewhere}")
    if before.exclusions_digest != now.exclusions_digest:
        raise ConfigError(f"the exclusions changed since the checkpoints in {out} were trained; {elsewhere}")
    if before.merges_digest != now.merges_digest:
        raise ConfigError(f"the vocabulary changed since the checkpoints in {out} were trained; {elsewhere}")


def _differences(before: IsDataclass, now: IsDataclass) -> Iterator[tuple[str, object, object]]:
    old = {entry.path: entry.value for entry in describe(before)}
    new = {entry.path: entry.value for entry in describe(now)}
    for path in sorted(old.keys() | new.keys()):
        if path not in FREE_FIELDS and old.get(path) != new.get(path):
            yield path, old.get(path), new.get(path)


def on_this_machine(job: Job) -> Job:
    """The job with absolute local paths, for a process in another folder. Raises ConfigError where `out` is remote."""
    if not storage.is_local(job.out):
        raise ConfigError(f"{job.out}: training writes to a local folder; take a local --work")
    config = job.config
    if isinstance(config, PretrainConfig):
        config = dataclasses.replace(config, merges=_absolute(config.merges))
    data = tuple(_absolute(folder) for folder in job.data)
    exclusions, out = _absolute(job.exclusions), _absolute(job.out)
    return dataclasses.replace(job, config=config, data=data, exclusions=exclusions, out=out)


def _absolute(url: str) -> str:
    return storage.local_path(url) if url and storage.is_local(url) else url
