"""A partition of bands: which images with an equal band, or equal bytes or pixels, are copies."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import REASONS
from datagen.duplicates.fingerprints import F32, U64, distance
from datagen.duplicates.within.bands import PIXELS, SHA256, kinds
from datagen.duplicates.within.config import WithinConfig
from datagen.duplicates.within.fingerprint import BANDED
from openwit.images.header import U8
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.slices import map_ordered, read_slice
from openwit.storage.tables import one_chunk

PAIRS = pa.schema([("a", pa.uint64()), ("b", pa.uint64()), ("reason", pa.int8()), ("score", pa.float32())])
CANDIDATE_DISTANCE = 0.25  # of the 256-bit hash, up to which a detector is asked
COMPARED_ROWS = 1 << 18  # pairs of rows that are compared at once: 64 MB
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BandRows:
    """N rows of a partition (columns BANDED) as arrays, in the order of keys, hashes and ids."""

    key: U64
    id: U64
    hash: U64  # (N, 4)
    reliable: U64
    colors: U8  # (N, 32)
    vector: F32  # (N, D)

    @classmethod
    def of(cls, table: pa.Table) -> BandRows:
        """The rows of a table."""
        key, ids = (one_chunk(table[name]).to_numpy() for name in ("key", "id"))
        words = [_fixed(table[name]) for name in ("hash", "reliable", "colors")]
        order = np.lexsort((ids, *(word.view(np.uint64)[:, n] for word in reversed(words) for n in range(4)), key))
        hashes, reliable, colors = (word[order] for word in words)
        vectors = table["vector"].to_pylist()
        width = max((len(vector) for vector in vectors), default=0)
        near = b"".join(vector.ljust(width, b"\0") for vector in vectors)
        vector = np.frombuffer(near, np.float16).reshape(len(vectors), width // 2)[order].astype(np.float32)
        return cls(key[order], ids[order], hashes.view(np.uint64), reliable.view(np.uint64), colors, vector)

    def __len__(self) -> int:
        return len(self.key)

    def take(self, places: I64) -> BandRows:
        """The rows at these places."""
        return BandRows(
            *(getattr(self, name)[places] for name in ("key", "id", "hash", "reliable", "colors", "vector"))
        )

    def is_as_before(self) -> npt.NDArray[np.bool_]:
        """Of each row whether it has the key, hash and colours of the one before it."""
        same = np.zeros(len(self), bool)
        same[1:] = self.key[1:] == self.key[:-1]
        for words in (self.hash, self.reliable, self.colors):
            same[1:] &= (words[1:] == words[:-1]).all(axis=1)
        return same


def process(config: WithinConfig, source: Source, target: Target) -> Counts:
    """Writes a partition's pairs of copies (columns PAIRS, a < b, each once with its surest reason). Counts rows; and
    pairs: `pairs.compared`, `pairs.not_compared` (of bands that too many images share), `pairs.<reason>`."""
    slices = map_ordered(functools.partial(read_slice, index=source.index), source.urls("bands"))
    rows = BandRows.of(pa.Table.from_batches(slices, BANDED).combine_chunks())
    counts: Counts = Counter({"in": len(rows), "kept": len(rows)})
    found = [*_identical(rows), _near(config, rows, counts)]
    table = _distinct(pa.concat_tables([PAIRS.empty_table(), *found]))
    for reason in table["reason"].to_pylist():
        counts[f"pairs.{REASONS[reason]}"] += 1
    counts["rows"] = len(table)
    pq.write_table(table, target.path(".parquet"), compression="zstd")
    return counts


PAIR_STAGE: Stage[WithinConfig] = Stage("within_pairs", 1, process)


def _identical(rows: BandRows) -> list[pa.Table]:
    """Each row that is as the one before it, with that one: a thousand copies are 999 pairs."""
    places = np.flatnonzero(rows.is_as_before())
    of = kinds(rows.key[places])
    tables = []
    for reason, chosen in (("sha256", of == SHA256), ("pixels", of == PIXELS), ("phash", of < PIXELS)):
        here = places[chosen]
        tables.append(_table(rows.id[here - 1], rows.id[here], REASONS.index(reason), np.ones(len(here), np.float32)))
    return tables


def _near(config: WithinConfig, rows: BandRows, counts: Counts) -> pa.Table:
    """The near copies among the rows that differ, each compared with up to `max_bucket` that follow it in its band."""
    first = rows.take(np.flatnonzero(~rows.is_as_before() & (kinds(rows.key) < PIXELS)))
    sizes = np.unique(first.key, return_counts=True)[1].astype(np.int64)
    possible = int((sizes * (sizes - 1) // 2).sum())
    tables = [PAIRS.empty_table()]
    for apart in range(1, config.max_bucket + 1):
        left = np.flatnonzero(first.key[:-apart] == first.key[apart:])
        if not len(left):
            break
        for start in range(0, len(left), COMPARED_ROWS):
            tables.append(_compare(config, first, left[start : start + COMPARED_ROWS], apart))
        counts["pairs.compared"] += len(left)
    counts["pairs.not_compared"] += possible - counts["pairs.compared"]
    return pa.concat_tables(tables)


def _compare(config: WithinConfig, rows: BandRows, left: I64, apart: int) -> pa.Table:
    right = left + apart
    hashes = rows.hash[left], rows.hash[right]
    far = np.maximum(distance(*hashes, rows.reliable[left]), distance(*hashes, rows.reliable[right]))
    colors = np.abs(rows.colors[left].astype(np.int16) - rows.colors[right]).mean(axis=1)
    if rows.vector.shape[1]:
        near = (far <= CANDIDATE_DISTANCE) & (colors <= config.max_color_distance)
        left, right = left[near], right[near]
        score = np.einsum("nd,nd->n", rows.vector[left], rows.vector[right]).astype(np.float32)
        same, reason = score >= config.min_score, "detector"
    else:
        same, reason = (far <= config.max_distance256) & (colors <= config.max_color_distance), "phash"
        score = (1 - far).astype(np.float32)
    return _table(rows.id[left[same]], rows.id[right[same]], REASONS.index(reason), score[same])


def _table(a: U64, b: U64, reason: int, score: F32) -> pa.Table:
    reasons = np.full(len(a), reason, np.int8)
    return pa.table([np.minimum(a, b), np.maximum(a, b), reasons, np.round(score, 4)], schema=PAIRS)


def _distinct(pairs: pa.Table) -> pa.Table:
    """Each pair once, by its surest reason, in order."""
    a, b, reason, score = (one_chunk(column).to_numpy() for column in pairs.columns)
    order = np.lexsort((-score, reason, b, a))
    first = np.ones(len(order), bool)
    first[1:] = (a[order][1:] != a[order][:-1]) | (b[order][1:] != b[order][:-1])
    return pairs.take(pa.array(order[first & (a[order] != b[order])]))


def _fixed(column: pa.ChunkedArray) -> U8:
    """N values of 32 bytes as (N, 32)."""
    array = one_chunk(column)
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    return data[array.offset * 32 : (array.offset + len(array)) * 32].reshape(-1, 32).copy()
