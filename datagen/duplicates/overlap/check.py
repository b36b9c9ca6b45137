"""The overlap check: index the evaluation sets, stream the shards past them, report.

The evaluation sets made ready to be looked up in: indexed and embedded set by set, then merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from datagen.duplicates.config import (
    EmbedConfig,
    IndexConfig,
    Limits,
    MergeConfig,
    OverlapConfig,
    SearchConfig,
    split_eval_set,
)
from datagen.duplicates.embed import EMBED_STAGE, detector_input
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.index.build import MERGE_STAGE
from datagen.duplicates.index.fingerprint import INDEX_STAGE, set_digest
from datagen.duplicates.index.query import NEAR_SCORE
from datagen.duplicates.overlap import report as reports
from datagen.duplicates.overlap.accuracy import read_answers
from datagen.duplicates.overlap.gallery import write_gallery
from datagen.duplicates.overlap.report import INDEX, PAIRS, CheckedSet, OverlapReport
from datagen.duplicates.overlap.scan import OVERLAP_STAGE, read_seconds
from datagen.duplicates.overlap.thresholds import read_calibration
from datagen.duplicates.within.groups import exclude_copies
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import ConfigError, InputError
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
    images: int  # that could be decoded
    rows: int


def index_sets(run: Run, config: OverlapConfig) -> list[IndexedSet]:
    """Every set of the config, indexed, and embedded where there is a detector; what is done already is not done again.

    Raises InputError where one is missing or holds no image.
    """
    detector = detector_input(config.detector) if config.detector else None
    named = [split_eval_set(entry) for entry in config.eval_sets]
    found = [(name, url, formats.partitions(url)) for name, url in named]
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
        raise InputError(f"{url}: evaluation set {name} holds no image that can be decoded ({made.counts['in']} rows)")
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


def check_overlap(run: Run, config: OverlapConfig) -> OverlapReport:
    """What of the evaluation sets the shards hold. In work/duplicates/ it leaves report.json, report.html,
    overlap/<set>.parquet and exclusions.parquet, every pair that training leaves out.

    Raises ConfigError where no set is named, InputError where a set or the shards' manifest is missing, WorkError
    where a set could not be indexed or a shard not checked.
    """
    shards = read_shards(run, config)
    sets = index_sets(run, config)
    limits = _limits(run, config, sets)
    index = merge_sets(run, config, sets, min(entry.min_score for entry in limits))
    sources = shard_sources(run, shards, config, index)
    searching = SearchConfig(limits=limits, near_pairs=config.near_pairs, device=config.device)
    pairs = run.stage(OVERLAP_STAGE, searching, sources, run.folder("duplicates", PAIRS))
    checked = [
        CheckedSet(entry.name, entry.url, entry.sha256, entry.images, entry.rows, _thresholds(limit, config))
        for entry, limit in zip(sets, limits, strict=True)
    ]
    return _report(run.folder("duplicates"), config, checked, pairs)


def shard_sources(run: Run, shards: Manifest, config: OverlapConfig, index: tuple[Input, ...]) -> list[Source]:
    """A partition for each shard: its tar and table, the index, and the detector if there is one."""
    detector = {"detector": (detector_input(config.detector),)} if config.detector else {}
    return [
        Source(
            index=part.index,
            inputs={
                "tar": (Input.made(run.folder("shards"), part.file(".tar")),),
                "parquet": (Input.made(run.folder("shards"), part.file(".parquet")),),
                "index": index,
                **detector,
            },
        )
        for part in shards.parts
    ]


def read_shards(run: Run, config: OverlapConfig) -> Manifest:
    """The manifest of the shards. Raises ConfigError where there is no set to look for, InputError where there are no
    shards."""
    if not config.eval_sets:
        raise ConfigError(
            "eval_sets is empty: name at least one evaluation set as name=url, e.g. things=things.parquet"
        )
    try:
        return manifests.read(run.folder("shards"))
    except InputError as error:
        raise InputError(f"{error}; build-dataset makes the shards that are checked") from None


def _limits(run: Run, config: OverlapConfig, sets: list[IndexedSet]) -> tuple[Limits, ...]:
    found = read_calibration(run.folder("duplicates")) if config.calibrated else None
    if found is None:
        return config.limits({})
    identity = detector_input(config.detector).identity if config.detector else ""
    calibrated = found.thresholds(identity, {entry.name: entry.sha256 for entry in sets})
    unknown = [entry.name for entry in sets if entry.name not in calibrated]
    if unknown:
        run.log.say(f"calibration.json is of another detector or content for {', '.join(unknown)}: defaults there")
    return config.limits(calibrated)


def _thresholds(limits: Limits, config: OverlapConfig) -> dict[str, float]:
    """What the report says of a set."""
    values = {name: value for name, value in asdict(limits).items() if name != "name"}
    return values if config.detector else {name: value for name, value in values.items() if name != "min_score"}


def _report(folder: str, config: OverlapConfig, sets: list[CheckedSet], pairs: Manifest) -> OverlapReport:
    """The report, made anew where the one that stands there is of other inputs; report.json, written last, vouches
    for the other files."""
    answers = read_answers(folder, [entry.name for entry in sets])
    made_from = reports.made_from(config, sets, pairs, answers)
    if (before := reports.find_report(folder, made_from)) is not None:
        exclude_copies(folder)
        return before
    rows = reports.read_pairs(folder, pairs)
    report = reports.measure(config, sets, pairs, rows, answers)
    reports.write_tables(folder, report, rows)
    exclude_copies(folder)
    seconds = read_seconds(storage.join(folder, PAIRS), pairs)
    storage.write_json(storage.join(folder, "seconds.json"), seconds)
    write_gallery(folder, report, rows, config.gallery_pairs, seconds)
    storage.write_bytes(storage.join(folder, reports.REPORT), report.to_json().encode())
    return report
