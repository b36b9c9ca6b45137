"""How the queries share the pairs: their head and tail, before and after the cap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from openwit import manifest as manifests
from openwit import storage
from openwit.storage.tables import read_table

NUM_CURVE_POINTS = 60
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class QueryRow:
    """One query: the distinct pairs that it matches, and those that it selects."""

    query: str
    source: str
    matches: int
    selected: int


@dataclass(frozen=True, kw_only=True)
class QueryShare:
    """Some queries of the list, together; a pair that two of them select counts for both."""

    queries: int
    matching: int  # that match at least one pair
    capped: int  # that select fewer than they match
    matches: int
    selected: int


@dataclass(frozen=True, kw_only=True)
class QueryStatistics:
    """All queries of the list; the curve holds (rank, matches, selected) at ranks evenly spaced by their logarithm,
    queries sorted by falling matches."""

    all: QueryShare
    sources: dict[str, QueryShare]  # in the order of the list
    levels: dict[str, QueryShare]  # by the number of matches: from 1,000, from 100, … none
    head: list[QueryRow]
    tail: list[QueryRow]  # of those that match
    curve: list[tuple[int, int, int]]


def collect_queries(work: str, num_rows: int) -> QueryStatistics | None:
    """The queries' statistics; None where the work folder has no query list or no cap yet."""
    if not all(storage.exists(storage.join(work, folder, manifests.MANIFEST)) for folder in ("queries", "cap")):
        return None
    names = read_table(storage.join(work, "queries", "queries.parquet"), ["query_id", "query", "source"])
    decided = read_table(storage.join(work, "cap", "queries.parquet"), ["query_id", "matches", "selected"])
    table = names.join(decided, keys="query_id").combine_chunks()
    matches, selected = (_numbers(table, name) for name in ("matches", "selected"))
    order = np.lexsort((_numbers(table, "query_id"), -matches))
    table, matches, selected = table.take(pa.array(order)), matches[order], selected[order]
    matching = int((matches > 0).sum())
    tail = max(matching - num_rows, min(num_rows, matching))
    return QueryStatistics(
        all=_share(matches, selected),
        sources=_sources(table, matches, selected),
        levels=_levels(matches, selected),
        head=_rows(table, matches, selected, range(min(num_rows, matching))),
        tail=_rows(table, matches, selected, range(tail, matching)),
        curve=_curve(matches[:matching], selected[:matching]),
    )


def _share(matches: I64, selected: I64) -> QueryShare:
    return QueryShare(
        queries=len(matches),
        matching=int((matches > 0).sum()),
        capped=int((selected < matches).sum()),
        matches=int(matches.sum()),
        selected=int(selected.sum()),
    )


def _sources(table: pa.Table, matches: I64, selected: I64) -> dict[str, QueryShare]:
    first = table.group_by("source").aggregate([("query_id", "min")]).sort_by("query_id_min")
    shares = {}
    for name in first["source"].to_pylist():
        own = pc.equal(table["source"], name).to_numpy()
        shares[name] = _share(matches[own], selected[own])
    return shares


def _levels(matches: I64, selected: I64) -> dict[str, QueryShare]:
    """Powers of ten, the highest first, down to none; levels without queries too, so that gaps are seen."""
    powers = [10**power for power in range(len(str(int(matches.max()))))] if matches.any() else []
    shares = {}
    for low in reversed(powers):
        inside = (matches >= low) & (matches < 10 * low)
        shares[f"from {low:,}"] = _share(matches[inside], selected[inside])
    shares["none"] = _share(matches[matches == 0], selected[matches == 0])
    return shares


def _rows(table: pa.Table, matches: I64, selected: I64, places: range) -> list[QueryRow]:
    shown = table.slice(places.start, len(places))
    named = zip(places, shown["query"].to_pylist(), shown["source"].to_pylist(), strict=True)
    return [
        QueryRow(query=query, source=source, matches=int(matches[i]), selected=int(selected[i]))
        for i, query, source in named
    ]


def _curve(matches: I64, selected: I64) -> list[tuple[int, int, int]]:
    if not len(matches):
        return []
    ranks = np.unique(np.rint(np.geomspace(1, len(matches), NUM_CURVE_POINTS)).astype(int))
    return [(int(rank), int(matches[rank - 1]), int(selected[rank - 1])) for rank in ranks]


def _numbers(table: pa.Table, name: str) -> I64:
    return np.asarray(table[name].fill_null(0).to_numpy(), np.int64)
