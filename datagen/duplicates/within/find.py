"""Copies inside the data set: fingerprints by shard → pairs by band → groups → captions merged into what is kept.

Captions of dropped copies are gathered by ranges of shards, then written there. A merged caption is a pair of the kept
image's URL, so its uid is that pair's; the copy's own uid is left out of training, as within.parquet and
exclusions.parquet say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.embed import detector_input
from datagen.duplicates.within.config import GroupsConfig, WithinConfig
from datagen.duplicates.within.fingerprint import FINGERPRINT
from datagen.duplicates.within.groups import GROUP_STAGE, NAME, exclude_copies
from datagen.duplicates.within.pairs import PAIR_STAGE
from datagen.schemas import CAPTIONS
from datagen.shards import swap as swaps
from datagen.shards.remove import settle
from datagen.shards.rewrite import Captions, ShardFiles, has_entries, rewrite
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest, Part
from openwit.run import Run
from openwit.shards.notes import pair_uid
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.tables import read_table, read_wanted


@dataclass(frozen=True)
class WithinSummary:
    """What the search came to."""

    images: int
    groups: int
    copies: int  # that training leaves out
    merged_captions: int
    not_compared: int  # pairs of bands that too many images share

    def __str__(self) -> str:
        left = f"; {self.not_compared:,} pairs of large bands were not compared" if self.not_compared else ""
        return (
            f"{self.copies:,} of {self.images:,} images are copies, in {self.groups:,} groups; training leaves them"
            f" out; {self.merged_captions:,} of their captions were merged into what is kept{left}"
        )


def find_within(run: Run, config: WithinConfig) -> WithinSummary:
    """Finds the copies inside shards/, in duplicates/within/, and merges their captions. Raises InputError where there
    are no shards, WorkError where one cannot be read."""
    settle(run)
    try:
        shards = manifests.read(run.folder("shards"))
    except InputError as error:
        raise InputError(f"{error}; build-dataset makes the shards") from None
    prints = run.stage(FINGERPRINT, config.prints, _shard_sources(run, shards, config), _folder(run, "prints"))
    bands = tuple(Input.made(_folder(run, "prints"), part.file(".bands.arrow")) for part in prints.parts)
    nodes = tuple(Input.made(_folder(run, "prints"), part.file(".nodes.parquet")) for part in prints.parts)
    dealt = [Source(index=number, inputs={"bands": bands}) for number in range(config.num_partitions)]
    pairs = run.stage(PAIR_STAGE, config, dealt, _folder(run, "pairs"))
    found = tuple(Input.made(_folder(run, "pairs"), part.file(".parquet")) for part in pairs.parts)
    whole = Source(index=0, inputs={"pairs": found, "nodes": nodes})
    groups = run.stage(GROUP_STAGE, GroupsConfig(), [whole], _folder(run, "groups"))
    merged = _merge(run, config, shards, Input.made(_folder(run, "groups"), groups.parts[0].file(NAME)), nodes)
    exclude_copies(run.folder("duplicates"))
    counts = groups.counts
    return WithinSummary(
        images=prints.counts["in"],
        groups=counts["kept"],
        copies=counts["dropped.within"],
        merged_captions=merged,
        not_compared=pairs.counts["pairs.not_compared"],
    )


def _folder(run: Run, name: str) -> str:
    return run.folder("duplicates", "within", name)


def _shard_sources(run: Run, shards: Manifest, config: WithinConfig) -> list[Source]:
    detector = {"detector": (detector_input(config.detector),)} if config.detector else {}
    return [Source(index=part.index, inputs={**_files(run, part), **detector}) for part in shards.parts]


def _files(run: Run, part: Part) -> dict[str, tuple[Input, ...]]:
    folder = run.folder("shards")
    return {role: (Input.made(folder, part.file(f".{role}")),) for role in ("tar", "parquet")}


def _merge(run: Run, config: WithinConfig, shards: Manifest, within: Input, nodes: tuple[Input, ...]) -> int:
    """Gives the kept images the captions of their copies; how many."""
    table = read_table(within.url, ["kept_shard", "kept"])
    kept_shards = set(pc.unique(table.filter(pc.invert(table["kept"]))["kept_shard"]).to_pylist())
    if not kept_shards or not config.merge_captions:
        return 0
    ranges = sorted({shard // RANGE_SHARDS for shard in kept_shards})
    inputs = {"within": (within,), "nodes": nodes}
    made = run.stage(
        GATHER,
        GroupsConfig(),
        [Source(index=index, inputs=inputs) for index in ranges],
        _folder(run, "gathered"),
    )
    gathered = {part.index: Input.made(_folder(run, "gathered"), part.file(".parquet")) for part in made.parts}
    sources = [
        Source(
            index=part.index,
            inputs={**_files(run, part), "gathered": (gathered[part.index // RANGE_SHARDS],)},
        )
        for part in shards.parts
        if part.index in kept_shards
    ]
    folder = _folder(run, "merged")
    staged = run.stage(MERGE, GroupsConfig(), sources, storage.join(folder, swaps.STAGED))
    if any(part.files for part in staged.parts):
        swaps.decide(run.folder("shards"), folder, staged)
        swaps.finish(run.folder("shards"))
    return staged.counts["merged_captions"]


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
    captions: dict[tuple[int, str], Captions] = {}
    for entry in source.inputs["nodes"]:
        shard = int(entry.url.rpartition("/")[2].partition(".")[0])
        if keys := wanted.get(shard):
            table = read_table(entry.url, ["key", "captions"])
            own = table.filter(pc.is_in(table["key"], pa.array(sorted(keys))))
            found = zip(own["key"].to_pylist(), own["captions"].to_pylist(), strict=True)
            captions |= {(shard, key): entries for key, entries in found}
    gathered: dict[tuple[int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for copy in copies:
        gathered[copy["kept_shard"], copy["group"]] += captions[copy["shard"], copy["key"]]
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
    for row in table.to_pylist() if has_entries(table.schema) else ():
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
