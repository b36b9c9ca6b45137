"""Copies of copies are one group: the connected components of all pairs, and which image of each is kept.

This is the one step that sees the whole data set, and only its pairs: 21 bytes a pair on disk, about 100 in memory.
With 100 million pairs it takes 10 GB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.config import REASONS
from datagen.duplicates.fingerprints import U64
from datagen.duplicates.within.config import GroupsConfig
from datagen.duplicates.within.fingerprint import NODES, shards_of
from datagen.duplicates.within.pairs import I64, PAIRS
from datagen.shards.exclusions import EXCLUSIONS, forget_removed, replace_reason
from openwit import storage
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import one_chunk, read_table

NAME = "within.parquet"
REASON = "within"  # in exclusions.parquet
WITHIN = pa.schema(
    [
        ("shard", pa.int32()),
        ("key", pa.string()),
        ("uid", pa.string()),
        ("uids", pa.list_(pa.string())),  # of all pairs that show the image
        ("url", pa.string()),
        ("group", pa.string()),  # key of the image that is kept
        ("kept_shard", pa.int32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),  # by which it is a copy of one of the group, the surest
        ("score", pa.float32()),
    ]
)


def process(config: GroupsConfig, source: Source, target: Target) -> Counts:
    """Writes within.parquet (columns WITHIN): every image that has a copy, group by group, the kept one first. Of a
    group the largest original image is kept; of equal ones that with the smallest uid, then that of the first shard.
    Counts images: `kept`, one a group, and `dropped.within`."""
    pairs = pa.concat_tables([PAIRS.empty_table(), *(read_table(url) for url in source.urls("pairs"))])
    a, b, reason, score = (one_chunk(column).to_numpy() for column in pairs.columns)
    ids, group = components(a, b)
    surest = _surest(np.searchsorted(ids, np.concatenate([a, b])), np.tile(reason, 2), np.tile(score, 2), len(ids))
    nodes = _nodes(source, ids)
    area = one_chunk(nodes["area"]).to_numpy()
    uids = [[entry["uid"] for entry in entries] for entries in nodes["captions"].to_pylist()]
    first = np.array([entry[0] if entry else "" for entry in uids], dtype="U32")
    order = np.lexsort((ids, first, -area, group))
    keys, shards = nodes["key"].to_pylist(), shards_of(ids).tolist()
    rows, kept = [], -1
    for place in order.tolist():
        is_first = kept < 0 or bool(group[place] != group[kept])
        kept = place if is_first else kept
        found = REASONS[surest[0][place]], surest[1][place]
        about = (
            shards[place],
            keys[place],
            uids[place][0] if uids[place] else "",
            uids[place],
            nodes["url"][place].as_py(),
        )
        rows.append((*about, keys[kept], shards[kept], is_first, *found))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(WITHIN)
    pq.write_table(pa.table(columns, schema=WITHIN), target.named(NAME), compression="zstd")
    num_groups = sum(row[7] for row in rows)
    return Counter({"in": len(rows), "kept": num_groups, "dropped.within": len(rows) - num_groups, "rows": len(rows)})


GROUP_STAGE: Stage[GroupsConfig] = Stage("within_groups", 1, process)


def components(a: U64, b: U64) -> tuple[U64, I64]:
    """All ids that occur, sorted, and of each the number of its connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = np.unique(np.concatenate([a, b]))
    left, right = np.searchsorted(ids, a), np.searchsorted(ids, b)
    graph = coo_array((np.ones(len(a), np.int8), (left, right)), shape=(len(ids), len(ids)))
    return ids, connected_components(graph, directed=False)[1].astype(np.int64) if len(ids) else np.zeros(0, np.int64)


def exclude_copies(folder: str) -> None:
    """In duplicates/, exclusions.parquet has a row with the reason "within" for every pair of every copy that is not
    kept, and no other row of that reason; where copies were never looked for, it keeps those that it has. What was
    removed from the shards is in no row."""
    url = storage.join(folder, "within", "groups", NAME)
    if storage.exists(url):
        replace_reason(folder, REASON, _copies(url))
    else:
        forget_removed(folder)


def _copies(url: str) -> pa.Table:
    """The rows of all copies; a uid that a kept image has too (the same URL and caption twice) is left out."""
    table = read_table(url, ["uid", "uids", "kept", "score"])
    kept = pc.list_flatten(table.filter(table["kept"])["uids"])
    dropped = table.filter(pc.invert(table["kept"]))
    uids = pc.list_flatten(dropped["uids"])
    rows_of = pc.list_parent_indices(dropped["uids"])
    scores = dropped["score"].take(rows_of).cast(pa.float64())
    number = len(uids)
    columns = [uids, pa.array([""] * number, pa.string()), pa.array([REASON] * number, pa.string()), scores]
    columns.append(dropped["uid"].take(rows_of))
    rows = pa.table(columns, schema=EXCLUSIONS)
    return rows.filter(pc.invert(pc.is_in(rows["uid"], value_set=kept.combine_chunks())))


def _surest(
    places: I64,
    reason: np.ndarray[tuple[int], np.dtype[np.int8]],
    score: np.ndarray[tuple[int], np.dtype[np.float32]],
    number: int,
) -> tuple[list[int], list[float]]:
    """Of each place its surest reason, and the best score for that."""
    order = np.lexsort((-score, reason, places))
    firsts = order[np.searchsorted(places[order], np.arange(number))] if number else order
    return reason[firsts].tolist(), score[firsts].tolist()


def _nodes(source: Source, ids: U64) -> pa.Table:
    """What is known of the images with these ids, in their order."""
    tables = [NODES.empty_table()]
    by_shard = dict(zip(source.inputs["nodes"], _shard_numbers(source.urls("nodes")), strict=True))
    members = shards_of(ids)
    for entry, shard in by_shard.items():
        wanted = ids[members == np.uint64(shard)]
        if len(wanted):
            table = read_table(entry.url)
            tables.append(table.take(pa.array(np.searchsorted(one_chunk(table["id"]).to_numpy(), wanted))))
    return pa.concat_tables(tables).sort_by("id").combine_chunks()


def _shard_numbers(urls: Sequence[str]) -> list[int]:
    return [int(url.rpartition("/")[2].partition(".")[0]) for url in urls]
