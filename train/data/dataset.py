"""A data set of shards as its manifests describe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openwit import manifest as manifests
from openwit import storage
from openwit.errors import ConfigError, InputError
from train.data.order import Lane, ShardRange, deal, steps_per_epoch
from train.mixture import Entry, parse_entries


@dataclass(frozen=True)
class TrainingShard:
    """One tar and the number of samples that the manifest promises in it."""

    name: str
    url: str
    num_samples: int


@dataclass(frozen=True)
class DataSet:
    """The shards that hold samples, the parts of the mixture that they form, and what must not be trained on: the uids
    of captions, and how many samples those are."""

    folder: str
    shards: tuple[TrainingShard, ...]
    parts: tuple[ShardRange, ...]
    excluded: frozenset[str] = frozenset()
    num_excluded: int = 0

    @property
    def num_samples(self) -> int:
        """Samples in all shards, as the manifests count them."""
        return sum(shard.num_samples for shard in self.shards)

    @property
    def num_rows(self) -> int:
        """Samples of an epoch, each counted as often as it is used; every epoch has as many."""
        return sum(part.num_rows for part in self.parts)

    def steps_per_epoch(self, batch_pairs: int, num_lanes: int) -> int:
        """Steps in which no lane repeats itself, if exclusions spread evenly over all samples.

        Raises ConfigError where an epoch is smaller than a global batch.
        """
        num_excluded = -(-self.num_excluded * self.num_rows // self.num_samples)
        return steps_per_epoch(self.num_rows, num_excluded, batch_pairs, num_lanes)

    def lanes(self, num_lanes: int, seed: int, epoch: int) -> tuple[Lane, ...]:
        """The lanes of an epoch."""
        segments = [segment for part in self.parts for segment in part.segments(seed, epoch)]
        return deal(segments, num_lanes, seed, epoch)


def open_data_set(folders: Sequence[str], exclusions: str = "") -> DataSet:
    """The data set of the entries FOLDER or FOLDER=PASSES without what the parquet file `exclusions` names (empty: all
    is used).

    Raises InputError where a manifest or the exclusions are missing or damaged, ConfigError where an entry is wrong.
    """
    entries = parse_entries(folders)
    shards: list[TrainingShard] = []
    parts = []
    for number, entry in enumerate(entries):
        first = len(shards)
        shards += _shards_of(entry.folder, alone=len(entries) == 1)
        part = ShardRange(number, tuple((n, shards[n].num_samples) for n in range(first, len(shards))), entry.passes)
        if not part.num_rows:
            least = Entry(entry.folder, 1 / part.num_samples)
            raise ConfigError(
                f"data={entry}: is none of its {part.num_samples} samples an epoch; write {least} or more"
            )
        parts.append(part)
    data_set = DataSet(", ".join(map(str, entries)), tuple(shards), tuple(parts))
    return _without(data_set, exclusions) if exclusions else data_set


def data_digest(folders: Sequence[str]) -> str:
    """A text that changes when the samples of the entries do, or their passes, but not with the place where they lie.
    Raises as `open_data_set`."""
    entries = parse_entries(folders)
    return " ".join(str(Entry(manifests.read(entry.folder).digest, entry.passes)) for entry in entries)


def _shards_of(folder: str, alone: bool) -> list[TrainingShard]:
    """Beside other folders, which have tars of the same names, a shard's name is its URL."""
    shards = []
    for part in manifests.read(folder).parts:
        if part.rows:
            name = part.file(".tar").name
            url = storage.join(folder, name)
            shards.append(TrainingShard(name if alone else url, url, part.rows))
    if not shards:
        raise InputError(f"{storage.join(folder, manifests.MANIFEST)}: holds no samples; build the data set first")
    return shards


def _without(data_set: DataSet, exclusions: str) -> DataSet:
    from openwit.storage.tables import read_table

    table = read_table(exclusions, ["uid", "image"])
    uids, images = (frozenset(table[name].to_pylist()) for name in ("uid", "image"))
    return replace(data_set, excluded=uids, num_excluded=len(images))
