"""The statistics as one HTML page: funnel, the queries' head and tail, histograms and a gallery."""

from __future__ import annotations

from datagen import page
from datagen.statistics import plots
from datagen.statistics.collect import Statistics
from datagen.statistics.queries import QueryRow, QueryShare, QueryStatistics
from datagen.statistics.terminal import human_bytes, share_of
from openwit import storage

MAX_CAPTIONS = 3  # of a picture in the gallery


def write_page(statistics: Statistics, url: str) -> None:
    """Publishes the page, which asks nothing of the network, at the URL."""
    storage.write_bytes(url, render(statistics))


def render(statistics: Statistics) -> bytes:
    """The page's bytes; equal statistics give equal bytes."""
    body = [
        _numbers(statistics),
        _funnel(statistics),
        _failures(statistics),
        _queries(statistics.queries) if statistics.queries else "",
        _distributions(statistics) if statistics.shards else "",
        _hosts(statistics),
        _gallery(statistics),
    ]
    subtitle = f"Recipe {statistics.recipe} · {statistics.work}" if statistics.recipe else statistics.work
    return page.page("Data set statistics", subtitle, body, statistics.attribution)


def _numbers(statistics: Statistics) -> str:
    numbers = []
    if statistics.shards:
        numbers = [
            (f"{statistics.images:,}", "pictures"),
            (f"{statistics.pairs:,}", "image-text pairs"),
            (f"{statistics.shards:,}", "shards"),
            (human_bytes(statistics.tar_bytes), "in tar files"),
            (f"{statistics.num_hosts:,}", "hosts"),
        ]
    elif statistics.selected:
        numbers = [
            (f"{statistics.selected:,}", "pairs selected"),
            (f"{statistics.image_urls:,}", "image URLs, not crawled yet"),
        ]
    if statistics.queries:
        whole = statistics.queries.all
        numbers.append((f"{whole.matching / max(whole.queries, 1):.1%}", f"of {whole.queries:,} queries match"))
        numbers.append((f"{whole.capped:,}", "queries reach the cap"))
    return page.tiles(numbers)


def _funnel(statistics: Statistics) -> str:
    if not statistics.funnel:
        return ""
    steps = [(f"{step.name}: {step.unit} kept", step.entered, step.kept) for step in statistics.funnel]
    reasons = [(entry.reason, entry.step, entry.number, f"{entry.share:.1%}") for entry in statistics.most_dropped]
    header = ("most dropped because", "in step", "number", "of what entered the step")
    return f"<h2>Funnel</h2>{plots.bars(steps)}{page.table(header, reasons) if reasons else ''}"


def _failures(statistics: Statistics) -> str:
    """Where there is a funnel, it has them already."""
    if statistics.funnel or not statistics.failures:
        return ""
    return "<h2>Failures</h2>" + page.table(("reason", "number"), list(statistics.failures.items()))


def _distributions(statistics: Statistics) -> str:
    cards = [
        plots.histogram("Width in pixels", statistics.width_px),
        plots.histogram("Height in pixels", statistics.height_px),
        plots.histogram("Characters a caption", statistics.caption_chars),
        plots.histogram("Words a caption", statistics.caption_words),
        plots.histogram("Captions a picture", statistics.captions_per_image),
    ]
    return f'<h2>Pictures and captions</h2><div class="columns">{"".join(cards)}</div>'


def _queries(queries: QueryStatistics) -> str:
    whole = queries.all
    sentence = (
        f"{whole.matching:,} of {whole.queries:,} queries match a pair; together they match {whole.matches:,} times"
        f" and select {whole.selected:,} times under the cap, which limits {whole.capped:,} of them."
    )
    curve = (
        '<div class="card narrow"><h3>Pairs of each query, by rank</h3>'
        f'{plots.head_and_tail(queries.curve)}<p class="note"><b class="key before"></b> matched'
        ' <b class="key after"></b> selected under the cap; both axes by logarithm</p></div>'
    )
    tables = f'<div class="columns">{_query_table("Head", queries.head)}{_query_table("Tail", queries.tail)}</div>'
    return (
        f"<h2>Queries</h2><p>{page.escape(sentence)}</p>{curve}"
        f"<h3>By number of matches</h3>{_shares('matches a query', queries.levels, queries)}{tables}"
        f"<h3>By source</h3>{_shares('source', queries.sources, queries)}"
        '<p class="note">A pair that several queries match or select counts for each of them.</p>'
    )


def _shares(what: str, shares: dict[str, QueryShare], queries: QueryStatistics) -> str:
    rows = [
        (name, share.queries, share.matching, share.capped, share.matches, share.selected, share_of(share, queries))
        for name, share in shares.items()
    ]
    header = (what, "queries", "matching", "capped", "matches", "selected", "share of selected")
    return page.table(header, rows)


def _query_table(title: str, rows: list[QueryRow]) -> str:
    if not rows:
        return ""
    table = page.table(
        ("query", "source", "matches", "selected"), [(row.query, row.source, row.matches, row.selected) for row in rows]
    )
    return f"<div><h3>{title}</h3>{table}</div>"


def _hosts(statistics: Statistics) -> str:
    if not statistics.hosts:
        return ""
    rows = [
        (host or "(none)", number, f"{number / statistics.images:.1%}") for host, number in statistics.hosts.items()
    ]
    more = statistics.num_hosts - len(rows)
    note = f'<p class="soft">and {more:,} more hosts</p>' if more else ""
    return f"<h2>Hosts</h2>{page.table(('host', 'pictures', 'share'), rows)}{note}"


def _gallery(statistics: Statistics) -> str:
    if not statistics.samples:
        return ""
    figures = []
    for sample in statistics.samples:
        more = len(sample.captions) - MAX_CAPTIONS
        lines = [*sample.captions[:MAX_CAPTIONS], *([f"and {more} more"] if more > 0 else [])]
        figures.append(page.figure([page.image(sample.jpeg, sample.captions[0])], lines))
    return f'<h2>Samples</h2><div class="gallery">{"".join(figures)}</div>'
