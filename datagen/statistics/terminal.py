"""The statistics at the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from datagen.funnel import COLUMNS
from datagen.statistics.collect import Statistics
from datagen.statistics.distribution import Distribution
from datagen.statistics.queries import QueryShare, QueryStatistics
from openwit.log.text_table import text_table

MAX_REASONS = 8
Table = tuple[Sequence[str], Sequence[Sequence[object]]]  # header, rows


def statistics_text(statistics: Statistics) -> str:
    """The numbers of the page that fit a terminal: a sentence, and tables with blank lines between them."""
    if statistics.shards:
        sums = (
            f"{statistics.images:,} images, {statistics.pairs:,} pairs, {statistics.shards:,} shards, "
            f"{human_bytes(statistics.tar_bytes)} in tar files, {statistics.num_hosts:,} hosts"
        )
    else:
        sums = f"{statistics.selected:,} pairs selected of {statistics.image_urls:,} image URLs; nothing crawled yet"
    return "\n\n".join([sums, *(text_table(header, rows, indent=0) for header, rows in _tables(statistics) if rows)])


def human_bytes(number: int) -> str:
    """Bytes as a person reads them: 512 B, 1.5 kB, 2.0 GB."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.95 or unit == "TB":
            break
        value /= 1000
    return f"{number} B" if unit == "B" else f"{value:,.1f} {unit}"


def _tables(statistics: Statistics) -> Iterator[Table]:
    if statistics.funnel:
        yield COLUMNS, [step.row for step in statistics.funnel]
        reasons = [(entry.step, entry.reason, entry.number, f"{entry.share:.1%}") for entry in statistics.most_dropped]
        yield ("step", "most dropped because", "number", "of the step"), reasons[:MAX_REASONS]
    else:
        yield ("failed because", "number"), list(statistics.failures.items())
    yield _distributions(statistics)
    if statistics.queries:
        yield from _queries(statistics.queries)
    yield ("host", "images"), list(statistics.hosts.items())[:5]


def _distributions(statistics: Statistics) -> Table:
    named: list[tuple[str, Distribution]] = [
        ("width, px", statistics.width_px),
        ("height, px", statistics.height_px),
        ("caption, characters", statistics.caption_chars),
        ("caption, words", statistics.caption_words),
        ("captions an image", statistics.captions_per_image),
    ]
    rows = [(name, entry.low, entry.median, f"{entry.mean:,.1f}", entry.high) for name, entry in named if entry.number]
    return ("", "1%", "median", "mean", "99%"), rows


def _queries(queries: QueryStatistics) -> Iterator[Table]:
    for what, shares in (("source", {**queries.sources, "all": queries.all}), ("matches a query", queries.levels)):
        yield (what, "queries", "matching", "capped", "matches", "selected", "share"), share_rows(shares, queries)
    head = [(row.query, row.source, row.matches, row.selected) for row in queries.head[:5]]
    yield ("commonest query", "source", "matches", "selected"), head


def share_rows(shares: Mapping[str, QueryShare], queries: QueryStatistics) -> list[tuple[object, ...]]:
    """Of each share of the queries its name, numbers, and the part of all selections that it makes."""
    return [
        (name, share.queries, share.matching, share.capped, share.matches, share.selected, share_of(share, queries))
        for name, share in shares.items()
    ]


def share_of(share: QueryShare, queries: QueryStatistics) -> str:
    """The part of all selections that these queries make, in percent."""
    return f"{share.selected / max(queries.all.selected, 1):.1%}"
