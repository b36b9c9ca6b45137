"""What a run of the data pipeline costs: the one table of measured rates, and the estimate that follows from it.

Rates are of one core. `known_from` names the benchmark, the hardware and the date, or says that the number is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# One Common Crawl snapshot, by its own statistics: about 90,000 WAT files of 250 to 350 MB.
SNAPSHOT_FILES = 90_000
SNAPSHOT_FILE_BYTES = 300_000_000
PAIRS_PER_MB = {  # of a file: image links in a gzipped WAT (139,000 in 80 MB), rows of a table
    "wat": 1_740,
    "parquet": 8_000,
    "csv": 7_000,
    "tsv": 7_000,
    "jsonl": 4_000,
}
NUM_QUERIES = 500_000  # where there is no list yet
MATCHES_PER_PAIR = 3.5  # 5.6 billion matches of 1.6 billion pairs (arXiv:2309.16671, section 3)
SELECTIONS_PER_PAIR = 1.7  # queries that select a pair which is selected at all; fitted, see expected_selections
CAPTIONS_PER_IMAGE = 1.2  # selected pairs of one image URL


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What a stage costs for each row that enters it: an image link (match), a pair, a query, an image (crawl)."""

    rows_per_core_s: float
    kept: float  # of the rows that enter; of select the cap decides
    bytes_per_row: float  # written, for each row kept
    known_from: str


GUESS = "guess"
BENCH_MATCH = "bench_match, AMD EPYC, 2026-11-21"
BENCH_WAT = "bench_wat, AMD EPYC, 2026-11-21; share kept: guess"
BY_HAND = "1.5 million made rows, AMD EPYC, 2026-11-21; share kept: guess"
RATES: Mapping[str, Rate] = {
    "query table": Rate(rows_per_core_s=800_000, kept=1, bytes_per_row=40, known_from=BENCH_MATCH),
    "match": Rate(rows_per_core_s=120_000, kept=0.29, bytes_per_row=107, known_from=BENCH_WAT),
    "shuffle": Rate(rows_per_core_s=400_000, kept=0.9, bytes_per_row=110, known_from=BY_HAND),
    "distinct": Rate(rows_per_core_s=900_000, kept=0.5, bytes_per_row=35, known_from=BY_HAND),
    "cap-windows": Rate(rows_per_core_s=10_000, kept=1, bytes_per_row=12, known_from=GUESS),
    "cap-narrow": Rate(rows_per_core_s=8_000_000, kept=1, bytes_per_row=0.6, known_from=GUESS),
    "cap-thresholds": Rate(rows_per_core_s=5_000, kept=1, bytes_per_row=30, known_from=GUESS),
    "select": Rate(rows_per_core_s=500_000, kept=math.nan, bytes_per_row=130, known_from=GUESS),
    "crawl": Rate(rows_per_core_s=26, kept=0.7, bytes_per_row=12_000, known_from=GUESS),
}
OF_QUERIES = ("query table", "cap-windows", "cap-thresholds")  # one partition; queries enter, and no pair


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the size of a run."""

    pairs: float  # image links, or rows of tables, in all files
    files: int  # partitions of the match stage
    bundle_bytes: float
    num_partitions: int
    num_queries: int
    max_pairs: int
    shard_rows: int
    until: str  # the folder that is made last: selected or shards


@dataclass(frozen=True, kw_only=True)
class WorkDone:
    """What is known of a stage that was planned: its partitions, and of those done what they kept, their bytes and the
    median of their seconds."""

    partitions: int
    done: int
    kept: int
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One stage: `core_s` is what is left to do; `bytes` and `rows` are those of all its partitions."""

    stage: str
    partitions: int
    done: int
    core_s: float
    bytes: float
    rows: float
    known_from: str  # the table's words, or "this run"

    def wall_s(self, workers: int) -> float:
        """How long `workers` cores take for what is left, partition by partition."""
        left = self.partitions - self.done
        return math.ceil(left / workers) * self.core_s / left if left else 0.0


def estimate(settings: Settings, known: Mapping[str, WorkDone]) -> list[StageCost]:
    """Every stage's cost, in order. Partitions that are done are better known than the table: where a stage has some,
    their medians stand for the rest of it, and what they keep is what enters the next stage."""
    costs: list[StageCost] = []
    pairs = settings.pairs
    for stage, rate in RATES.items():
        if stage == "crawl" and settings.until != "shards":
            break
        rows_in = settings.num_queries if stage in OF_QUERIES else pairs
        rows_in = pairs / CAPTIONS_PER_IMAGE if stage == "crawl" else rows_in
        kept = expected_pairs(settings, rows_in) if stage == "select" else rows_in * rate.kept
        written = costs[-1].bytes if costs else 0.0
        partitions = _partitions(settings, stage, rows_in, written)
        costs.append(_stage_cost(stage, known.get(stage), partitions, rows_in, kept))
        if stage not in OF_QUERIES:
            pairs = costs[-1].rows
    return costs


def expected_pairs(settings: Settings, pairs: float) -> float:
    """How many of the distinct pairs the queries select together."""
    selections = expected_selections(pairs * MATCHES_PER_PAIR, settings.num_queries, settings.max_pairs)
    return min(pairs, selections / SELECTIONS_PER_PAIR)


def expected_selections(matches: float, num_queries: int, max_pairs: int) -> float:
    """The sum of min(cap, matches) over all queries. The query at rank r has a share of all matches that falls with
    1/r, and with 1/r² beyond rank 16,000 of 500,000: of the 5.6 billion matches of arXiv:2309.16671 (section 3), where
    16,000 queries are above 20,000 and have 94.5% of all matches, it gives 14,400 queries and 93%."""
    ranks = np.arange(1, num_queries + 1, dtype=np.float64)
    shares = 1 / (ranks * (1 + ranks / (0.032 * num_queries)))
    return float(np.minimum(matches * shares / shares.sum(), max_pairs).sum())


def _partitions(settings: Settings, stage: str, rows_in: float, bytes_in: float) -> int:
    if stage == "match":
        return settings.files
    if stage == "shuffle":
        return max(1, math.ceil(bytes_in / settings.bundle_bytes))
    if stage in OF_QUERIES:
        return 1
    if stage == "crawl":
        return max(settings.num_partitions, math.ceil(rows_in / settings.shard_rows))
    return settings.num_partitions


def _stage_cost(stage: str, known: WorkDone | None, partitions: int, rows_in: float, kept: float) -> StageCost:
    rate = RATES[stage]
    if known is None or not known.done:
        partitions = known.partitions if known else partitions
        core_s, written = rows_in / rate.rows_per_core_s, kept * rate.bytes_per_row
        name = rate.known_from
        return StageCost(
            stage=stage, partitions=partitions, done=0, core_s=core_s, bytes=written, rows=kept, known_from=name
        )
    share = known.partitions / known.done
    return StageCost(
        stage=stage,
        partitions=known.partitions,
        done=known.done,
        core_s=known.seconds * (known.partitions - known.done),
        bytes=known.bytes * share,
        rows=known.kept * share,
        known_from="this run",
    )
