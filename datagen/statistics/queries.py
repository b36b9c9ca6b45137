"""How the queries share the pairs: their head and tail, before and after the cap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openwit import manifest as manifests
from openwit import storage
from openwit.tables import read_table

NUM_CURVE_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class QueryRow:
    """One query: the distinct pairs that it matches, and those that it selects."""

    query: str
    source: str
    matches: int
    selected: int


@dataclass(frozen=True, kw_only=True)
class SourceShare:
    """The queries of one source; a pair that two of them select counts for both."""

    queries: int  # in the list
    matching: int  # that match at least one pair
    matches: int
    selected: int


@dataclass(frozen=True, kw_only=True)
class QueryStatistics:
    """All queries of the list; the curve holds (rank, matches, selected) at ranks evenly spaced by their logarithm,
    queries sorted by falling matches."""

    queries: int
    matching: int
    capped: int  # that select fewer than they match
    matches: int
    selected: int
    sources: dict[str, SourceShare]
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
        queries=len(table),
        matching=matching,
        capped=int((selected < matches).sum()),
        matches=int(matches.sum()),
        selected=int(selected.sum()),
        sources=_sources(table, matches, selected),
        head=_rows(table.slice(0, min(num_rows, matching)), matches, selected, 0),
        tail=_rows(table.slice(tail, matching - tail), matches, selected, tail),
        curve=_curve(matches[:matching], selected[:matching]),
    )


def _sources(
    table: pa.Table, matches: npt.NDArray[np.int64], selected: npt.NDArray[np.int64]
) -> dict[str, SourceShare]:
    source = np.array(table["source"].to_pylist(), object)
    shares = {}
    for name in sorted(set(source)):
        own = source == name
        shares[name] = SourceShare(
            queries=int(own.sum()),
            matching=int((matches[own] > 0).sum()),
            matches=int(matches[own].sum()),
            selected=int(selected[own].sum()),
        )
    return shares


def _rows(
    table: pa.Table, matches: npt.NDArray[np.int64], selected: npt.NDArray[np.int64], start: int
) -> list[QueryRow]:
    named = zip(table["query"].to_pylist(), table["source"].to_pylist(), strict=True)
    return [
        QueryRow(query=query, source=source, matches=int(matches[i]), selected=int(selected[i]))
        for i, (query, source) in enumerate(named, start)
    ]


def _curve(matches: npt.NDArray[np.int64], selected: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    if not len(matches):
        return []
    ranks = np.unique(np.rint(np.geomspace(1, len(matches), NUM_CURVE_POINTS)).astype(int))
    return [(int(rank), int(matches[rank - 1]), int(selected[rank - 1])) for rank in ranks]


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(table[name].fill_null(0).to_numpy(), np.int64)
