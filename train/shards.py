"""A data set of shards as its manifest describes it, and the rows of a lane in sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from train.order import Lane, Segment
from train.tars import TarSample, Unusable, read_samples


@dataclass(frozen=True)
class Shard:
    """One tar and the number of samples that the manifest promises in it."""

    name: str
    url: str
    num_samples: int


@dataclass(frozen=True)
class DataSet:
    """The shards that hold samples, and the uids of captions that must not be trained on."""

    folder: str
    shards: tuple[Shard, ...]
    excluded: frozenset[str]

    @property
    def num_samples(self) -> int:
        """Samples in all shards, as the manifest counts them."""
        return sum(shard.num_samples for shard in self.shards)


def open_data_set(folders: Sequence[str], exclusions: str = "") -> DataSet:
    """The data set of the folders' manifests without the uids of the parquet file `exclusions` (empty: all are used).

    Raises InputError where a manifest or the exclusions are missing or damaged.
    """
    shards = [shard for folder in folders for shard in _shards_of(folder)]
    return DataSet(", ".join(folders), tuple(shards), _read_uids(exclusions) if exclusions else frozenset())


def data_digest(folders: Sequence[str]) -> str:
    """A text that changes when the data do. Raises InputError as `open_data_set`."""
    return " ".join(manifests.read(folder).digest for folder in folders)


def _shards_of(folder: str) -> list[Shard]:
    shards = []
    for part in manifests.read(folder).parts:
        if part.rows:
            name = part.file(".tar").name
            shards.append(Shard(name, storage.join(folder, name), part.rows))
    if not shards:
        raise InputError(f"{storage.join(folder, manifests.MANIFEST)}: holds no samples; build the data set first")
    return shards


def _read_uids(url: str) -> frozenset[str]:
    from openwit.tables import read_table

    return frozenset(read_table(url, ["uid"])["uid"].to_pylist())


def read_rows(data_set: DataSet, lane: Lane, start: int) -> Iterator[TarSample | Unusable]:
    """One item for each row of the lane from the `start`-th on; a row that is not in its tar gives an Unusable whose
    key names the tar."""
    for segment in lane:
        if start < segment.num_samples:
            yield from _segment_rows(data_set.shards[segment.shard], replace(segment, start=segment.start + start))
        start = max(0, start - segment.num_samples)


def _segment_rows(shard: Shard, segment: Segment) -> Iterator[TarSample | Unusable]:
    num_given = 0
    missing = Unusable(shard.name, "tar", f"has fewer than the {shard.num_samples} samples of the manifest")
    try:
        with storage.open_input(shard.url) as file:
            for item in islice(read_samples(file, segment.start), segment.num_samples):
                if isinstance(item, Unusable):
                    missing = replace(item, key=shard.name)
                    break
                num_given += 1
                yield item
    except InputError as error:
        missing = Unusable(shard.name, "tar", str(error))
    for _ in range(segment.num_samples - num_given):
        yield missing
