"""The statistics at the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datagen.statistics.collect import Statistics
from datagen.statistics.distribution import Distribution
from datagen.statistics.queries import QueryShare, QueryStatistics

MAX_REASONS = 8


def print_table(statistics: Statistics, console: Console) -> None:
    """Prints the numbers of the page that fit a terminal."""
    if statistics.shards:
        sums = (
            f"{statistics.images:,} images, {statistics.pairs:,} pairs, {statistics.shards:,} shards, "
            f"{human_bytes(statistics.tar_bytes)} in tar files, {statistics.num_hosts:,} hosts"
        )
    else:
        sums = f"{statistics.selected:,} pairs selected of {statistics.image_urls:,} image URLs; nothing crawled yet"
    console.print(sums, highlight=False)
    if statistics.funnel:
        _print_funnel(statistics, console)
    elif statistics.failures:
        _print(console, ("failed because", "number"), list(statistics.failures.items()))
    _print_distributions(statistics, console)
    if statistics.queries:
        _print_queries(statistics.queries, console)
    _print(console, ("host", "images"), list(statistics.hosts.items())[:5])


def human_bytes(number: int) -> str:
    """Bytes as a person reads them: 512 B, 1.5 kB, 2.0 GB."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":
            break
        value /= 1000
    return f"{number} B" if unit == "B" else f"{value:,.1f} {unit}"


def _print_funnel(statistics: Statistics, console: Console) -> None:
    steps: list[tuple[object, ...]] = []
    for step in statistics.funnel:
        share = step.kept / step.entered if step.entered else 0.0
        steps.append((step.name, step.unit, step.entered, step.kept, f"{share:.1%}"))
    _print(console, ("step", "of", "in", "kept", "share"), steps)
    reasons = [(entry.step, entry.reason, entry.number, f"{entry.share:.1%}") for entry in statistics.most_dropped]
    _print(console, ("step", "most dropped because", "number", "of the step"), reasons[:MAX_REASONS])


def _print_distributions(statistics: Statistics, console: Console) -> None:
    named: list[tuple[str, Distribution]] = [
        ("width, px", statistics.width_px),
        ("height, px", statistics.height_px),
        ("caption, characters", statistics.caption_chars),
        ("caption, words", statistics.caption_words),
        ("captions an image", statistics.captions_per_image),
    ]
    rows = [(name, entry.low, entry.median, f"{entry.mean:,.1f}", entry.high) for name, entry in named if entry.number]
    _print(console, ("", "1%", "median", "mean", "99%"), rows)


def _print_queries(queries: QueryStatistics, console: Console) -> None:
    for what, shares in (("source", {**queries.sources, "all": queries.all}), ("matches a query", queries.levels)):
        rows = [
            (name, share.queries, share.matching, share.capped, share.matches, share.selected, share_of(share, queries))
            for name, share in shares.items()
        ]
        _print(console, (what, "queries", "matching", "capped", "matches", "selected", "share"), rows)
    head = [(row.query, row.source, row.matches, row.selected) for row in queries.head[:5]]
    _print(console, ("commonest query", "source", "matches", "selected"), head)


def share_of(share: QueryShare, queries: QueryStatistics) -> str:
    """The part of all selections that these queries make, in percent."""
    return f"{share.selected / max(queries.all.selected, 1):.1%}"


def _print(console: Console, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(header):
        numeric = isinstance(rows[0][place], int)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else escape(str(value)) for value in row))
    console.print(table)
    console.print()
