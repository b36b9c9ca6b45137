"""Made matched pairs carried through shuffle, distinct, cap and selection, stage by stage, without a crawl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from datagen.config import CapConfig, ShuffleConfig
from datagen.select import cap, distinct, selection, shuffle
from helpers.pairs import Pair, run_step, write_matched
from openwit.stage import Counts, Input, check_counts


def outside(folder: Path, suffix: str) -> tuple[Input, ...]:
    """The files of a stage's folder with that suffix, in order."""
    return tuple(Input.outside(str(path)) for path in sorted(folder.glob(f"*{suffix}")))


def find_distinct(folder: Path, bundles: Sequence[Sequence[Sequence[Pair]]], num_partitions: int) -> list[Counts]:
    """Writes the files of each bundle, then matched/, shuffled/ and distinct/; the counts of both stages."""
    config = ShuffleConfig(num_partitions=num_partitions)
    counts, numbers = [], iter(range(1000))
    for number, files in enumerate(bundles):
        matched = tuple(write_matched(folder / "matched", next(numbers), pairs) for pairs in files)
        counts.append(run_step(shuffle.process, config, {"matched": matched}, folder / "shuffled", number))
    inputs = {"shuffled": outside(folder / "shuffled", ".pairs.arrow")}
    for number in range(num_partitions):
        counts.append(run_step(distinct.process, config, inputs, folder / "distinct", number))
    for entry in counts:
        check_counts(entry)
    return counts


def decide(folder: Path, config: CapConfig) -> list[Counts]:
    """Writes cap/ of what find_distinct wrote; the counts of brackets, gather_bracketed and thresholds."""
    inputs = {"counted": outside(folder / "distinct", ".counts.parquet")}
    counts = [run_step(cap.brackets, config, inputs, folder / "cap")]
    return [*counts, *gather_bracketed(folder, config), thresholds(folder, config)]


def gather_bracketed(folder: Path, config: CapConfig) -> list[Counts]:
    """Writes cap/bracketed/."""
    brackets = (Input.outside(str(folder / "cap" / "brackets.parquet")),)
    return [
        run_step(
            cap.gather_bracketed,
            config,
            {"brackets": brackets, "distinct": (entry,)},
            folder / "cap" / "bracketed",
            number,
        )
        for number, entry in enumerate(outside(folder / "distinct", ".pairs.parquet"))
    ]


def thresholds(folder: Path, config: CapConfig) -> Counts:
    """Writes cap/queries.parquet."""
    inputs = {
        "brackets": (Input.outside(str(folder / "cap" / "brackets.parquet")),),
        "bracketed": outside(folder / "cap" / "bracketed", ".parquet"),
        "distinct": outside(folder / "distinct", ".pairs.parquet"),
    }
    return run_step(cap.thresholds, config, inputs, folder / "cap")  # type: ignore[no-any-return]


def select(folder: Path, config: CapConfig) -> list[dict[str, Any]]:
    """Writes selected/; its rows, partition by partition."""
    limits = (Input.outside(str(folder / "cap" / "queries.parquet")),)
    texts = outside(folder / "shuffled", ".texts.arrow")
    rows: list[dict[str, Any]] = []
    for number, entry in enumerate(outside(folder / "distinct", ".pairs.parquet")):
        inputs = {"distinct": (entry,), "thresholds": limits, "texts": texts}
        check_counts(run_step(selection.process, config, inputs, folder / "selected", number))
        rows += pq.read_table(folder / "selected" / f"{number:05d}.parquet").to_pylist()
    return rows


def carry(
    folder: Path, bundles: Sequence[Sequence[Sequence[Pair]]], config: CapConfig, num_partitions: int
) -> list[dict[str, Any]]:
    """The selected rows of these files, bundle by bundle."""
    find_distinct(folder, bundles, num_partitions)
    decide(folder, config)
    return select(folder, config)


def selections(rows: Sequence[dict[str, Any]]) -> dict[int, set[str]]:
    """The uids that each query selected."""
    found: dict[int, set[str]] = {}
    for row in rows:
        for caption in row["captions"]:
            for query in caption["selected_by"]:
                found.setdefault(query, set()).add(caption["uid"])
    return found
