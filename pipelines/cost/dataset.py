"""What build-dataset will cost: stage by stage, for whoever has to find the machines and the disks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.config import FileKind, SourcesConfig
from datagen.match.urls import kind_of, list_files
from datagen.statistics.terminal import human_bytes
from openwit import manifest as manifests
from openwit import stage as stages
from openwit import storage
from openwit.errors import InputError
from openwit.log.events import duration
from openwit.log.text_table import text_table
from openwit.stage import Plan
from pipelines.cost import rates
from pipelines.cost.rates import Settings, StageCost, WorkDone
from pipelines.recipes import Recipe

HEADER = ("stage", "parts", "done", "to do", "core-h", "writes", "keeps")
UNITS = {**dict.fromkeys(rates.OF_QUERIES, "queries"), "crawl": "images"}


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files of pairs that a run reads; `note` says what of it is assumed."""

    number: int
    bytes: int
    pairs: float  # image links, or rows of tables
    listed: bool  # else assumed
    note: str = ""


def forecast(recipe: Recipe, work: str, files: Files, plans: Sequence[Plan[Any]]) -> Iterator[str]:
    """The lines of the forecast. `plans` are those of the stages that can be planned already."""
    queries = storage.join(work, "queries")
    made = storage.exists(storage.join(queries, manifests.MANIFEST))
    settings = Settings(
        pairs=files.pairs,
        files=files.number,
        bundle_bytes=recipe.shuffle.bundle_mb * 1e6,
        num_partitions=recipe.shuffle.num_partitions,
        num_queries=max(manifests.read(queries).rows, 1) if made else rates.NUM_QUERIES,
        max_pairs=recipe.cap.max_pairs,
        shard_rows=recipe.crawl.shard_rows,
        until=recipe.until,
    )
    costs = rates.estimate(settings, {plan.stage.name: _done(plan) for plan in plans})
    yield f"{recipe.name}: {files.number:,} files of pairs, {human_bytes(files.bytes)}{files.note}"
    if not made:
        yield f"{rates.NUM_QUERIES:,} queries (assumed: openwit queries {recipe.name} has not made the list yet)"
    yield from tables(costs)
    yield from _sums(costs, recipe.executor.workers)


def find_files(sources: SourcesConfig) -> Files:
    """The files that the sources name; where they name none or the path list's host does not answer, as many as a
    Common Crawl snapshot has. Raises InputError where a file or list on this machine is missing."""
    why = "sources.wat_paths is not given"
    if sources.wat_paths or sources.files:
        try:
            return _listed(list_files(sources), sources.kind)
        except InputError as error:
            if not sources.wat_paths or storage.is_local(sources.wat_paths):
                raise
            why = str(error)
    number = min(sources.max_files or rates.SNAPSHOT_FILES, rates.SNAPSHOT_FILES)
    size = number * rates.SNAPSHOT_FILE_BYTES
    note = f" (assumed, as in one Common Crawl snapshot: {why})"
    return Files(number=number, bytes=size, pairs=size / 1e6 * rates.PAIRS_PER_MB["wat"], listed=False, note=note)


def _listed(urls: Sequence[str], kind: FileKind) -> Files:
    """Files of this machine at their sizes; that of others is assumed, as it would take a request each."""
    size, pairs, remote = 0, 0.0, 0
    for url in urls:
        local = storage.is_local(url)
        file_bytes = Path(storage.local_path(url)).stat().st_size if local else rates.SNAPSHOT_FILE_BYTES
        size += file_bytes
        pairs += file_bytes / 1e6 * rates.PAIRS_PER_MB[kind_of(url, kind)]
        remote += not local
    note = f" ({human_bytes(rates.SNAPSHOT_FILE_BYTES)} each: assumed)" if remote else ""
    return Files(number=len(urls), bytes=size, pairs=pairs, listed=True, note=note)


def tables(costs: Sequence[StageCost]) -> Iterator[str]:
    """The stages with their sum, and where each rate is known from."""
    rows: list[tuple[object, ...]] = []
    for entry in costs:
        kept = f"{round_number(entry.rows)} {UNITS.get(entry.stage, 'pairs')}"
        numbers = (entry.partitions, entry.done, entry.partitions - entry.done, hours(entry.core_s))
        rows.append((entry.stage, *numbers, human_bytes(round(entry.bytes)), kept))
    whole = hours(sum(entry.core_s for entry in costs))
    rows.append(("total", "", "", "", whole, human_bytes(round(sum(entry.bytes for entry in costs))), ""))
    yield text_table(HEADER, rows, indent=0)
    stages: dict[str, list[str]] = {}
    for entry in costs:
        stages.setdefault(entry.known_from, []).append(entry.stage)
    yield text_table(("known from", "of stage"), [(where, ", ".join(names)) for where, names in stages.items()])


def hours(seconds: float) -> str:
    """Seconds as hours: 0.03, 2.48, 216.2."""
    return f"{seconds / 3600:,.{1 if seconds >= 36_000 else 2}f}"


def round_number(number: float) -> str:
    """A number as a person says it: 950, 12,300, 4.1 million, 13.5 billion."""
    for power, name in ((1e9, "billion"), (1e6, "million")):
        if number >= power:
            return f"{number / power:,.1f} {name}"
    return f"{round(number):,}"


def _sums(costs: Sequence[StageCost], workers: int) -> Iterator[str]:
    before = [entry for entry in costs if entry.stage != "crawl"]
    wall = sum(entry.wall_s(workers) for entry in before)
    selected = costs[-1] if costs[-1].stage == "select" else costs[-2]
    yield (
        f"up to selected/: {round_number(selected.rows)} pairs, {human_bytes(round(sum(e.bytes for e in before)))} of "
        f"files in between, {hours(sum(e.core_s for e in before))} core-hours left"
    )
    yield f"about {duration(wall)} on {workers:,} workers, if the network and the storage keep up with them"
    if len(before) < len(costs):
        crawl = costs[-1]
        yield f"then the crawl: about {duration(crawl.wall_s(workers))} on as many, by the table's images a second"


def _done(plan: Plan[Any]) -> WorkDone:
    return WorkDone(
        partitions=len(plan.sources),
        done=len(plan.done),
        kept=sum(part.counts["kept"] for part in plan.done),
        bytes=sum(file.bytes for part in plan.done for file in part.files),
        seconds=stages.seconds_of(plan),
    )
