"""The distinct pairs: a partition's slices of all bundles → one pair a uid, and how many match each query.

What it writes is compact (uid, queries, and where the texts lie): the cap reads nothing else. A pair with four queries
takes 45 bytes in memory, 30 on disk, and at the most 170 while copies are sought: 1.2 GB for the 6.8 million pairs
of a partition when one Common Crawl snapshot is dealt to 2,000.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.config import ShuffleConfig
from datagen.schemas import DISTINCT, QUERY_COUNTS
from datagen.select.cap_kernel import I32, PairArrays, count_matches
from openwit.kernels.hashing import U64
from openwit.kernels.uids import first_of_each
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.slices import map_ordered, read_slice
from openwit.storage.tables import one_chunk, read_table


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs as arrays: pair `row` matches query_ids[offsets[row] : offsets[row + 1]]."""

    high: U64
    low: U64
    offsets: I32
    query_ids: I32

    @classmethod
    def of(cls, table: pa.Table) -> Pairs:
        """The pairs of a table with the columns uid_high, uid_low, query_ids."""
        lists = one_chunk(table["query_ids"])
        high, low = (one_chunk(table[name]).to_numpy() for name in ("uid_high", "uid_low"))
        return cls(high, low, lists.offsets.to_numpy(), lists.values.to_numpy())

    @property
    def arrays(self) -> PairArrays:
        """As the compiled loops take them."""
        return self.high, self.low, self.offsets, self.query_ids


def read_pairs(url: str) -> Pairs:
    """The distinct pairs of a partition's file."""
    return Pairs.of(read_table(url, ["uid_high", "uid_low", "query_ids"]))


def process(config: ShuffleConfig, source: Source, target: Target) -> Counts:
    """Writes NNNNN.pairs.parquet (columns DISTINCT, in the order of uids; of copies the first in the list of WAT
    files) and NNNNN.counts.parquet (columns QUERY_COUNTS). Counts pairs, and the `matches` of the distinct ones."""
    table = _partition(source.urls("shuffled"), source.index)
    counts: Counts = Counter({"in": len(table)})
    table = table.take(first_of_each(*(one_chunk(table[name]).to_numpy() for name in ("uid_high", "uid_low"))))
    pq.write_table(table, target.path(".pairs.parquet"), compression="zstd")
    matches = matches_of(Pairs.of(table))
    queries = np.flatnonzero(matches)
    numbers = pa.table([queries, matches[queries]], schema=QUERY_COUNTS)
    pq.write_table(numbers, target.path(".counts.parquet"), compression="zstd")
    counts.update({"kept": len(table), "dropped.duplicate": counts["in"] - len(table), "matches": int(matches.sum())})
    return counts


STAGE: Stage[ShuffleConfig] = Stage("distinct", 1, process)


def matches_of(pairs: Pairs) -> I32:
    """The number of pairs that match each query, by its id."""
    matches = np.zeros(int(pairs.query_ids.max(initial=-1)) + 1, np.int32)
    count_matches(pairs.query_ids, matches)
    return matches


def _partition(urls: Sequence[str], index: int) -> pa.Table:
    """The partition's rows of all bundles, in their order."""
    slices = map_ordered(functools.partial(read_slice, index=index), urls)
    batches = [_placed(number, batch) for number, batch in enumerate(slices)]
    return pa.Table.from_batches(batches, DISTINCT).combine_chunks()


def _placed(number: int, batch: pa.RecordBatch) -> pa.RecordBatch:
    bundle = np.full(len(batch), number, np.int32)
    row = np.arange(len(batch), dtype=np.int32)
    return pa.record_batch([batch["uid_high"], batch["uid_low"], bundle, row, batch["query_ids"]], schema=DISTINCT)
