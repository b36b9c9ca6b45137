"""The cap: of its distinct matching pairs, each query selects at most `max_pairs`, those with the smallest keys.

Which key is a query's k-th, k the cap, needs all partitions, but not their keys. Keys are spread evenly, so with N
matches it lies near k/N of their range: `brackets` (all counts → one small table) says where, eight standard deviations
wide; `gather_bracketed` (a partition) counts the keys under each bracket and keeps those inside, some k ± 8 sqrt(k) of
all partitions together; `thresholds` (all partitions → one small table) finds the k-th key among them. Where a bracket
misses it, which happens once in 10^15 queries, the query's keys are all looked through: the result is exact, and the
same for any partitions, workers and order. Queries under the cap have no bracket.

With 60,000 capped queries at 20,000 pairs, `gather_bracketed` keeps 2,300 matches of each, 3.4 GB in all, and
`thresholds` goes through them in ranges of queries of 128 MB.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.config import CapConfig
from datagen.schemas import BRACKETED, BRACKETS, INSIDE, THRESHOLDS
from datagen.select.cap_kernel import MAX_KEY, U32, UPPER_BITS, mark_bracketed, match_keys
from datagen.select.distinct import Pairs, read_pairs
from openwit.kernels.hashing import U64
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.slices import map_ordered
from openwit.storage.tables import one_chunk, read_table

DEVIATIONS = 8  # half the width of a bracket, in standard deviations of the number of keys below a value
RANGE_BYTES = 128 << 20  # of matches that `thresholds` holds at once
MATCH_BYTES = 24  # of one match inside a bracket: key and uid
NO_BRACKET = (1, 0)


def brackets(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes brackets.parquet (columns BRACKETS): the matches of every query, and where the k-th key of a capped one
    lies."""
    totals = np.zeros(0, np.int64)
    for table in map_ordered(read_table, source.urls("counted")):
        query_ids, matches = table["query_id"].to_numpy(), table["matches"].to_numpy()
        totals.resize(max(len(totals), int(query_ids.max(initial=-1)) + 1), refcheck=False)
        totals[query_ids] += matches
    query_ids = np.flatnonzero(totals)
    matches = totals[query_ids]
    first, last = (np.full(len(matches), end, np.uint32) for end in NO_BRACKET)
    capped = matches > config.max_pairs
    if config.mode == "strict":
        width = _margin(config.max_pairs)
        first[capped] = _upper_key(config.max_pairs - width, matches[capped])
        last[capped] = _upper_key(config.max_pairs + width, matches[capped])
    result = pa.table([query_ids, matches, first, last], schema=BRACKETS)
    pq.write_table(result, target.named("brackets.parquet"), compression="zstd")
    return Counter({"in": len(result), "kept": len(result), "queries_capped": int(capped.sum())})


def gather_bracketed(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes what a partition knows of the queries with a bracket, in the order of their ids (columns BRACKETED)."""
    query_ids, slots, first, last = _brackets(source.input("brackets"))
    counts: Counts = Counter({"in": 0, "kept": 0, "rows": len(query_ids)})
    table = BRACKETED.empty_table()
    if len(query_ids):
        pairs = read_pairs(source.url("distinct"))
        counts["in"] = counts["kept"] = len(pairs.high)
        below, inside = np.zeros(len(slots), np.int32), np.zeros(len(pairs.query_ids), bool)
        mark_bracketed(np.uint64(config.seed % 2**64), pairs.arrays, (first, last), below, inside)
        kept = _matches_at(config.seed, pairs, np.flatnonzero(inside))
        slot = slots[pairs.query_ids[inside]]
        order = np.argsort(slot, kind="stable")
        ends = np.searchsorted(slot[order], np.arange(len(query_ids) + 1)).astype(np.int32)
        entries = pa.StructArray.from_arrays([column[order] for column in kept], fields=list(INSIDE.value_type))
        lists = pa.ListArray.from_arrays(pa.array(ends), entries)
        table = pa.table([query_ids, below[query_ids], lists], schema=BRACKETED)
    pq.write_table(table, target.path(".parquet"), compression="zstd", row_group_size=_range_rows(config))
    return counts


def thresholds(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes queries.parquet (columns THRESHOLDS): a query's matches, how many it selects, and the highest key among
    these."""
    table = read_table(source.url("brackets"))
    matches = table["matches"].to_numpy()
    capped = matches > config.max_pairs
    last = np.full((3, len(matches)), MAX_KEY, np.uint64)  # key, and the halves of the uid
    missed = 0
    if config.mode == "strict":
        query_ids, ranges = table["query_id"].to_numpy()[capped], _range_rows(config)
        found = [np.empty((3, 0), np.uint64)]
        for start in range(0, len(query_ids), ranges):
            keys, exact = _kth_keys(config, source, query_ids[start : start + ranges], start)
            found.append(keys)
            missed += exact
        last[:, capped] = np.concatenate(found, axis=1)
    else:
        last[0, capped] = [config.max_pairs * 2**64 // number - 1 for number in matches[capped].tolist()]
    selected = np.minimum(matches, config.max_pairs)
    result = pa.table([table["query_id"], matches, selected, *last], schema=THRESHOLDS)
    pq.write_table(result, target.named("queries.parquet"), compression="zstd")
    counts = {"queries_capped": int(capped.sum()), "brackets_missed": missed}
    return Counter({"in": len(result), "kept": len(result), **counts})


BRACKET: Stage[CapConfig] = Stage("cap-windows", 2, brackets)
GATHER_BRACKETED: Stage[CapConfig] = Stage("cap-narrow", 2, gather_bracketed)
THRESHOLD: Stage[CapConfig] = Stage("cap-thresholds", 3, thresholds)


def _margin(cap: int) -> float:
    """How far from the cap the number of keys under a bracket's end may lie, in keys."""
    return DEVIATIONS * math.sqrt(cap) + 4 * DEVIATIONS


def _upper_key(rank: float, matches: npt.NDArray[np.int64]) -> U32:
    """The upper bits of the key that about `rank` of a query's matches lie under."""
    key = rank / matches * 2.0**UPPER_BITS
    return np.asarray(np.clip(key, 0, 2**UPPER_BITS - 1), np.uint32)


def _range_rows(config: CapConfig) -> int:
    """How many capped queries `thresholds` looks at together."""
    return max(1, RANGE_BYTES // int(2 * _margin(config.max_pairs) * MATCH_BYTES))


@functools.lru_cache(maxsize=1)
def _brackets(source: Input) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], U32, U32]:
    """The ids of the queries with a bracket; and for every id its place among them, and the ends of its bracket."""
    table = read_table(source.url)
    query_ids, first, last = (one_chunk(table[name]).to_numpy() for name in ("query_id", "first", "last"))
    size = int(query_ids.max(initial=-1)) + 1
    firsts, lasts = (np.full(size, end, np.uint32) for end in NO_BRACKET)
    firsts[query_ids], lasts[query_ids] = first, last
    with_bracket = query_ids[first <= last]
    slots = np.zeros(size, np.int32)
    slots[with_bracket] = np.arange(len(with_bracket))
    return with_bracket, slots, firsts, lasts


def _matches_at(seed: int, pairs: Pairs, places: npt.NDArray[np.int64]) -> tuple[U64, U64, U64]:
    """Key and uid of the matches at these places of pairs.query_ids."""
    rows = np.searchsorted(pairs.offsets, places, side="right") - 1
    high, low = pairs.high[rows], pairs.low[rows]
    return match_keys(np.uint64(seed % 2**64), high, low, pairs.query_ids[places]), high, low


def _kth_keys(config: CapConfig, source: Source, query_ids: npt.NDArray[np.int32], start: int) -> tuple[U64, int]:
    """The k-th key of each of a range of capped queries, with its uid, in three rows; and for how many of
    them the bracket missed it."""
    read = functools.partial(read_table, rows=(start, start + len(query_ids)))
    below = np.zeros(len(query_ids), np.int64)
    slots, entries = [np.empty(0, np.int64)], [np.empty((3, 0), np.uint64)]
    for table in map_ordered(read, source.urls("bracketed")):
        below += table["below"].to_numpy()
        lists = one_chunk(table["inside"])
        slots.append(np.repeat(np.arange(len(query_ids)), np.diff(lists.offsets.to_numpy())))
        entries.append(np.stack([field.to_numpy() for field in lists.flatten().flatten()]))
    slot, inside = np.concatenate(slots), np.concatenate(entries, axis=1)
    order = np.lexsort((inside[2], inside[1], inside[0], slot))
    ends = np.searchsorted(slot[order], np.arange(len(query_ids) + 1))
    places = ends[:-1] + config.max_pairs - below - 1
    missed = (below >= config.max_pairs) | (places >= ends[1:])
    last = inside[:, order[np.where(missed, 0, places)]] if len(order) else np.zeros((3, len(query_ids)), np.uint64)
    for slot_missed in np.flatnonzero(missed):
        last[:, slot_missed] = _look_through(config, source.urls("distinct"), int(query_ids[slot_missed]))
    return last, int(missed.sum())


def _look_through(config: CapConfig, urls: Sequence[str], query_id: int) -> U64:
    """The k-th key of a query, with its uid, from all its matches."""
    smallest = np.empty((3, 0), np.uint64)
    for url in urls:
        pairs = read_pairs(url)
        own = np.stack(_matches_at(config.seed, pairs, np.flatnonzero(pairs.query_ids == query_id)))
        smallest = np.concatenate([smallest, own], axis=1)
        smallest = smallest[:, np.lexsort(smallest[::-1])[: config.max_pairs]]
    return smallest[:, -1]
