"""Copies inside the data set: fingerprints by shard → pairs by band → groups → captions merged into what is kept."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from datagen.duplicates.embed import detector_input
from datagen.duplicates.within import captions as merges
from datagen.duplicates.within.config import GroupsConfig, WithinConfig
from datagen.duplicates.within.fingerprint import FINGERPRINT
from datagen.duplicates.within.groups import GROUP_STAGE, NAME, exclude_copies
from datagen.duplicates.within.pairs import PAIR_STAGE
from datagen.shards import swap as swaps
from datagen.shards.remove import settle
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest, Part
from openwit.run import Run
from openwit.stage import Input, Source
from openwit.storage.tables import read_table


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
    ranges = sorted({shard // merges.RANGE_SHARDS for shard in kept_shards})
    inputs = {"within": (within,), "nodes": nodes}
    made = run.stage(
        merges.GATHER,
        GroupsConfig(),
        [Source(index=index, inputs=inputs) for index in ranges],
        _folder(run, "gathered"),
    )
    gathered = {part.index: Input.made(_folder(run, "gathered"), part.file(".parquet")) for part in made.parts}
    sources = [
        Source(
            index=part.index,
            inputs={**_files(run, part), "gathered": (gathered[part.index // merges.RANGE_SHARDS],)},
        )
        for part in shards.parts
        if part.index in kept_shards
    ]
    folder = _folder(run, "merged")
    staged = run.stage(merges.MERGE, GroupsConfig(), sources, storage.join(folder, swaps.STAGED))
    if any(part.files for part in staged.parts):
        swaps.decide(run.folder("shards"), folder, staged)
        swaps.finish(run.folder("shards"))
    return staged.counts["merged_captions"]
