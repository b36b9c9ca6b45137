"""The evaluation sets made ready to be looked up in: indexed and embedded set by set, then merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datagen.duplicates import eval_sets
from datagen.duplicates.config import EmbedConfig, IndexConfig, MergeConfig, OverlapConfig, split_eval_set
from datagen.duplicates.embed import EMBED_STAGE, detector_input
from datagen.duplicates.index import INDEX_STAGE, set_digest
from datagen.duplicates.lookup import NEAR_SCORE
from datagen.duplicates.report import INDEX
from datagen.duplicates.search import MERGE_STAGE
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source

VECTORS, SEARCH = "vectors", "search"  # folders of stages, below duplicates/


@dataclass(frozen=True)
class IndexedSet:
    """One evaluation set: its partitions, and what its stages made of them."""

    name: str
    url: str
    parts: Sequence[tuple[Input, ...]]
    index: tuple[Input, ...]  # files
    vectors: tuple[Input, ...]  # files; none without a detector
    sha256: str  # of its keys and bytes
    pictures: int  # that could be decoded
    rows: int


def index_sets(run: Run, config: OverlapConfig) -> list[IndexedSet]:
    """Every set of the config, indexed, and embedded where there is a detector; what is done already is not done again.

    Raises InputError where one is missing or holds no picture.
    """
    detector = detector_input(config.detector) if config.detector else None
    named = [split_eval_set(entry) for entry in config.eval_sets]
    found = [(name, url, eval_sets.partitions(url)) for name, url in named]
    return [_index_set(run, config, entry, detector) for entry in found]


def merge_sets(run: Run, config: OverlapConfig, sets: Sequence[IndexedSet], least_score: float) -> tuple[Input, ...]:
    """The files of the one index of all sets; an inverted file finds neighbours down to the least score."""
    inputs = {"index": tuple(file for entry in sets for file in entry.index)}
    if config.detector:
        inputs["vectors"] = tuple(file for entry in sets for file in entry.vectors)
    merging = MergeConfig(exact_vectors=config.exact_vectors, least_score=round(least_score - NEAR_SCORE, 4))
    folder = run.folder("duplicates", SEARCH)
    made = run.stage(MERGE_STAGE, merging, [Source(index=0, inputs=inputs)], folder)
    return tuple(Input.made(folder, file) for file in made.parts[0].files)


def _index_set(
    run: Run, config: OverlapConfig, entry: tuple[str, str, list[tuple[Input, ...]]], detector: Input | None
) -> IndexedSet:
    name, url, parts = entry
    sources = [Source(index=i, inputs={"eval_set": part}) for i, part in enumerate(parts)]
    folder = run.folder("duplicates", INDEX, name)
    made = run.stage(INDEX_STAGE, IndexConfig(name=name, crop=config.crop), sources, folder)
    if not made.counts["kept"]:
        raise InputError(
            f"{url}: evaluation set {name} holds no picture that can be decoded ({made.counts['in']} rows)"
        )
    vectors: tuple[Input, ...] = ()
    if detector is not None:
        sources = [Source(index=s.index, inputs={**s.inputs, "detector": (detector,)}) for s in sources]
        place = run.folder("duplicates", VECTORS, name)
        embedded = run.stage(EMBED_STAGE, EmbedConfig(name=name, device=config.device), sources, place)
        vectors = _files(place, embedded)
    index = _files(folder, made)
    digest = set_digest([file.url for file in index])
    return IndexedSet(name, url, parts, index, vectors, digest, made.counts["kept"], made.counts["in"])


def _files(folder: str, made: Manifest) -> tuple[Input, ...]:
    return tuple(Input.made(storage.absolute(folder), part.file(".parquet")) for part in made.parts)
