"""The captions of dropped copies given to the image that is kept: gathered by ranges of shards, then written there.

A merged caption is a pair of the kept image's URL, so its uid is that pair's; the copy's own uid is left out of
training, as within.parquet and exclusions.parquet say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.within.config import GroupsConfig
from datagen.schemas import CAPTIONS, pair_uid
from datagen.shards.rewrite import Captions, ShardFiles, rewrite
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import read_table, read_wanted

RANGE_SHARDS = 256  # kept images of so many shards are gathered at once
GATHERED = pa.schema([("shard", pa.int32()), ("key", pa.string()), ("captions", CAPTIONS)])


def gather(config: GroupsConfig, source: Source, target: Target) -> Counts:
    """Writes, for the kept images of a range of shards, the captions of their copies (columns GATHERED), in the order
    of the copies. Counts copies."""
    first = source.index * RANGE_SHARDS
    here = (pc.field("kept_shard") >= first) & (pc.field("kept_shard") < first + RANGE_SHARDS) & ~pc.field("kept")
    copies = read_wanted(source.url("within"), ["shard", "key", "group", "kept_shard"], here).to_pylist()
    wanted: dict[int, set[str]] = defaultdict(set)
    for copy in copies:
        wanted[copy["shard"]].add(copy["key"])
    captions: dict[str, Captions] = {}
    for entry in source.inputs["nodes"]:
        keys = wanted.get(int(entry.url.rpartition("/")[2].partition(".")[0]))
        if keys:
            table = read_table(entry.url, ["key", "captions"])
            own = table.filter(pc.is_in(table["key"], pa.array(sorted(keys))))
            captions |= dict(zip(own["key"].to_pylist(), own["captions"].to_pylist(), strict=True))
    gathered: dict[tuple[int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for copy in copies:
        gathered[copy["kept_shard"], copy["group"]] += captions[copy["key"]]
    rows = [{"shard": shard, "key": key, "captions": found} for (shard, key), found in sorted(gathered.items())]
    pq.write_table(pa.Table.from_pylist(rows, schema=GATHERED), target.path(".parquet"), compression="zstd")
    return Counter({"in": len(copies), "kept": len(copies), "rows": len(rows)})


GATHER: Stage[GroupsConfig] = Stage("within_gather", 1, gather)


def merge(config: GroupsConfig, source: Source, target: Target) -> Counts:
    """Writes a shard anew whose kept images lack captions of their copies; nothing where none does, or where the
    shard has no list of captions (img2dataset's own). Counts images, and `merged_captions`."""
    table = read_table(source.url("parquet"))
    gathered = read_table(source.url("gathered"))
    gathered = gathered.filter(pc.equal(gathered["shard"], source.index))
    more = dict(zip(gathered["key"].to_pylist(), gathered["captions"].to_pylist(), strict=True))
    counts: Counts = Counter({"in": 0, "kept": 0})
    edits: dict[str, Captions] = {}
    for row in table.to_pylist() if "captions" in table.column_names else ():
        if row["status"] != "success":
            continue
        counts["in"] += 1
        counts["kept"] += 1
        if new := _new_captions(row["url"], row["captions"], more.get(row["key"], ())):
            edits[row["key"]] = [*row["captions"], *new]
            counts["merged_captions"] += len(new)
    if edits:
        rewrite(ShardFiles(source.url("tar"), table, edits), target)
    return counts


MERGE: Stage[GroupsConfig] = Stage("within_merge", 1, merge)


def _new_captions(url: str, own: Captions, others: Captions) -> Sequence[Mapping[str, Any]]:
    """Those of the others whose text the image lacks, each once, as its own pairs."""
    texts = {entry["caption"] for entry in own}
    found = []
    for entry in others:
        if entry["caption"] and entry["caption"] not in texts:
            texts.add(entry["caption"])
            found.append({**entry, "uid": pair_uid(url, entry["caption"])})
    return found
