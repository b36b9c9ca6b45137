"""The cap: of its distinct matching pairs, each query selects at most `max_pairs`; the data set is the union.

Three steps, none of which depends on workers or order: `count` (a partition's distinct pairs → counts and smallest
keys a query), `thresholds` (all partitions → one small table), `select` (the pairs at or below a threshold,
grouped by image URL so that a picture is fetched once with all its captions).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import CapConfig
from datagen.schemas import MATCHED, QUERY_KEYS, SELECTED, THRESHOLDS, url_hash
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table

U64 = npt.NDArray[np.uint64]
LAST_KEY = np.iinfo(np.uint64).max


def count(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes, for each query that a partition's distinct pairs match, their number and its smallest keys."""
    pairs, counts = _distinct_pairs(source)
    query_ids, rows = _matches(pairs)
    keys = pair_keys(config.seed, pairs["uid"], query_ids, rows)
    order = np.lexsort((keys, query_ids))
    query_ids, keys = query_ids[order], keys[order]
    queries, starts, numbers = np.unique(query_ids, return_index=True, return_counts=True)
    kept = np.minimum(numbers, config.max_pairs)
    taken = np.concatenate([np.arange(s, s + k) for s, k in zip(starts, kept, strict=True)] or [np.empty(0, np.int64)])
    offsets = pa.array(np.concatenate([[0], np.cumsum(kept)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(keys[taken], pa.uint64()))
    table = pa.table([queries, numbers, lists], schema=QUERY_KEYS)
    pq.write_table(table, target.path(".parquet"), compression="zstd")
    counts["rows"] = len(table)
    return counts


def thresholds(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes queries.parquet (columns THRESHOLDS): a query's matches, how many it selects, and its last key."""
    tables = [read_table(url) for url in source.urls("counted")]
    table = pa.concat_tables(tables).combine_chunks()
    matches = table.select(["query_id", "matches"]).group_by("query_id").aggregate([("matches", "sum")])
    matches = matches.sort_by("query_id")
    lengths = pc.list_value_length(table["keys"]).to_numpy()
    query_ids = np.repeat(table["query_id"].to_numpy(), lengths)
    keys = pc.list_flatten(table["keys"]).to_numpy()
    order = np.lexsort((keys, query_ids))
    keys = keys[order]
    starts = np.searchsorted(query_ids[order], matches["query_id"].to_numpy())
    totals = matches["matches_sum"].to_numpy()
    selected = np.minimum(totals, config.max_pairs)
    if config.mode == "strict":
        last = keys[starts + selected - 1] if len(keys) else np.empty(0, np.uint64)
    else:
        share = config.max_pairs / np.maximum(totals, config.max_pairs)
        last = np.where(share < 1, np.minimum(share * 2.0**64, 2.0**64 - 2048), 0).astype(np.uint64)
        last[share >= 1] = LAST_KEY
    result = pa.table([matches["query_id"], totals, selected, last], schema=THRESHOLDS)
    pq.write_table(result, target.named("queries.parquet"), compression="zstd")
    capped = int((totals > config.max_pairs).sum())
    return Counter({"in": len(result), "kept": len(result), "queries_capped": capped})


def select(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes a partition's selected pairs grouped by image URL (columns SELECTED), in the order of the URL's hash;
    counts pairs, and `rows` image URLs."""
    pairs, counts = _distinct_pairs(source)
    query_ids, rows = _matches(pairs)
    keys = pair_keys(config.seed, pairs["uid"], query_ids, rows)
    limits = read_table(source.url("thresholds"))
    places = np.searchsorted(limits["query_id"].to_numpy(), query_ids)
    chosen = keys <= limits["threshold"].to_numpy()[places]
    selected_by: dict[int, list[int]] = {}
    for row, query in zip(rows[chosen].tolist(), query_ids[chosen].tolist(), strict=True):
        selected_by.setdefault(row, []).append(query)
    images: dict[str, list[dict[str, object]]] = {}
    for row, pair in enumerate(pairs.to_pylist()):
        if row in selected_by:
            caption = {name: pair[name] for name in ("uid", "caption", "page_url", "query_ids")}
            images.setdefault(pair["url"], []).append({**caption, "selected_by": selected_by[row]})
    counts["dropped.capped"] = counts["kept"] - len(selected_by)
    counts["kept"] = len(selected_by)
    counts["rows"] = len(images)
    urls = sorted(images, key=lambda url: (url_hash(url), url))
    table = pa.table([urls, [images[url] for url in urls]], schema=SELECTED)
    pq.write_table(table, target.path(".parquet"), compression="zstd")
    return counts


COUNT: Stage[CapConfig] = Stage("cap-count", 1, count)
THRESHOLD: Stage[CapConfig] = Stage("cap-thresholds", 1, thresholds)
SELECT: Stage[CapConfig] = Stage("select", 1, select)


def pair_keys(seed: int, uids: pa.ChunkedArray, query_ids: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]) -> U64:
    """The keyed hash of each match (uids[rows[i]], query_ids[i]): 64 bits, a pure function of seed, uid, query."""
    halves = np.array([[int(uid[:16], 16), int(uid[16:], 16)] for uid in uids.to_pylist()], np.uint64).reshape(-1, 2)
    with np.errstate(over="ignore"):
        start = _mix(np.uint64(seed % 2**64) + np.uint64(0x9E3779B97F4A7C15))
        per_pair = _mix(_mix(halves[:, 0] ^ start) ^ halves[:, 1])
        return _mix(per_pair[rows] ^ _mix(query_ids.astype(np.uint64) + start))


def _mix(x: U64 | np.uint64) -> U64:
    """The finaliser of SplitMix64 (Steele et al. 2014)."""
    x = np.asarray(x, np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


def _distinct_pairs(source: Source) -> tuple[pa.Table, Counts]:
    """This partition's rows of all matched files, one a uid: the first by place of origin."""
    tables = [read_table(url, row_group=source.index) for url in source.urls("matched")]
    table = pa.concat_tables(tables) if tables else MATCHED.empty_table()
    table = table.sort_by([("uid", "ascending"), ("source", "ascending")]).combine_chunks()
    uids = table["uid"].to_numpy(zero_copy_only=False)
    first = np.ones(len(uids), bool)
    first[1:] = uids[1:] != uids[:-1]
    counts: Counts = Counter({"in": len(table), "kept": int(first.sum())})
    counts["dropped.duplicate"] = counts["in"] - counts["kept"]
    return table.filter(pa.array(first)), counts


def _matches(pairs: pa.Table) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The queries of all pairs in one array, and the row of the pair that each belongs to."""
    lengths = pc.list_value_length(pairs["query_ids"]).to_numpy()
    rows = np.repeat(np.arange(len(pairs)), lengths)
    return pc.list_flatten(pairs["query_ids"]).to_numpy().astype(np.int32), rows
