"""The shuffle: bundles of matched files → files of slices, one slice a partition of image URLs.

A pair's partition is the hash of its image URL, so finding its copies, capping it and joining it with the other
captions of its image are all done inside a partition. A bundle is a run of matched files, as many as fit
`bundle_mb`: what is read at once grows with it, the number of small reads falls with it.

One Common Crawl snapshot: 90,000 WAT files give about 150,000 matched pairs each, 16 MB as parquet; 13.5 billion
pairs, 1.4 TB. Bundles of 512 MB hold 32 files or 4.8 million pairs, 2 GB of memory; there are 2,800 of them. With
2,000 partitions a slice has 2,400 pairs, and a partition 6.8 million. A slice costs five requests to an object store,
and is read twice (distinct, select): 2,800 x 2,000 x 2 x 5 = 56 million requests, about 25 dollars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datagen.config import ShuffleConfig
from datagen.schemas import SHUFFLED, TEXTS
from openwit.kernels.hashing import url_hashes
from openwit.kernels.uids import first_of_each, uid_halves
from openwit.manifest import Part
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.slices import writing_slices
from openwit.storage.tables import one_chunk, read_table

MATCHED_COLUMNS = ("uid", "url", "caption", "page_url", "query_ids")
BUNDLED = pa.unify_schemas([SHUFFLED, TEXTS])


def bundles(parts: Sequence[Part], bundle_bytes: int) -> Iterator[list[Part]]:
    """The parts of the matched folder in runs whose files come to at most `bundle_bytes`, or of one part that is
    larger: a function of the files' sizes alone."""
    bundle: list[Part] = []
    size = 0
    for part in parts:
        part_bytes = part.file(".parquet").bytes
        if bundle and size + part_bytes > bundle_bytes:
            yield bundle
            bundle, size = [], 0
        bundle.append(part)
        size += part_bytes
    if bundle:
        yield bundle


def process(config: ShuffleConfig, source: Source, target: Target) -> Counts:
    """Writes a bundle's pairs, one a uid (the first), as slices: NNNNN.pairs.arrow (columns SHUFFLED) and
    NNNNN.texts.arrow (columns TEXTS), row for row, in the order of uids. Counts pairs."""
    files = [_dealt(url, config.num_partitions) for url in source.urls("matched")]
    counts: Counts = Counter({"in": sum(len(file.table) for file in files), "kept": 0})
    pairs_path, texts_path = target.path(".pairs.arrow"), target.path(".texts.arrow")
    with writing_slices(pairs_path, SHUFFLED) as pairs, writing_slices(texts_path, TEXTS) as texts:
        for partition in range(config.num_partitions):
            batch = _distinct_batch(file.partition(partition) for file in files)
            pairs.write_batch(batch.select(SHUFFLED.names))
            texts.write_batch(batch.select(TEXTS.names))
            counts["kept"] += len(batch)
    counts["dropped.duplicate"] = counts["in"] - counts["kept"]
    return counts


STAGE: Stage[ShuffleConfig] = Stage("shuffle", 1, process)


@dataclass(frozen=True)
class _Dealt:
    """A matched file's pairs in the order of their partitions; partition p from starts[p] up to starts[p + 1]."""

    table: pa.Table
    starts: npt.NDArray[np.int64]

    def partition(self, index: int) -> pa.Table:
        return self.table.slice(self.starts[index], self.starts[index + 1] - self.starts[index])


def _dealt(url: str, num_partitions: int) -> _Dealt:
    table = read_table(url, MATCHED_COLUMNS).combine_chunks()
    high, low = uid_halves(one_chunk(table["uid"]))
    partitions = url_hashes(one_chunk(table["url"])) % np.uint64(num_partitions)
    order = np.argsort(partitions, kind="stable")
    columns = {"uid_high": high, "uid_low": low, **{name: table[name] for name in MATCHED_COLUMNS[1:]}}
    dealt = pa.table([columns[name] for name in BUNDLED.names], schema=BUNDLED).take(order)
    return _Dealt(dealt, np.searchsorted(partitions[order], np.arange(num_partitions + 1)))


def _distinct_batch(tables: Iterable[pa.Table]) -> pa.RecordBatch:
    table = pa.concat_tables([BUNDLED.empty_table(), *tables])
    batch = pa.record_batch([one_chunk(column) for column in table.columns], schema=BUNDLED)
    return batch.take(pa.array(first_of_each(batch["uid_high"].to_numpy(), batch["uid_low"].to_numpy())))
