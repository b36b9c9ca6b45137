"""The statistics as one HTML page: funnel, the queries' head and tail, histograms and a gallery.

Plots as inline SVG, coloured by the page's style so that they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from datagen import page
from datagen.page import escape
from datagen.statistics.collect import Statistics
from datagen.statistics.distribution import Distribution
from datagen.statistics.queries import QueryRow, QueryShare, QueryStatistics
from datagen.statistics.terminal import human_bytes, share_of
from openwit import storage

WIDTH, HEIGHT, FOOT, SIDE = 360, 150, 18, 4
CURVE_WIDTH = 480
MAX_BAR = 40
MIN_LABEL_GAP = 80


def histogram(title: str, shown: Distribution) -> str:
    """A card with the bins as bars, the first and last values as labels, and median and mean in words."""
    if not shown.number:
        return f'<div class="card"><h3>{escape(title)}</h3><p class="soft">None known.</p></div>'
    top, step = max(shown.counts), min(MAX_BAR, (WIDTH - 2 * SIDE) / len(shown.counts))
    columns = []
    for place, count in enumerate(shown.counts):
        height = (HEIGHT - FOOT - 4) * count / top
        low, high = shown.start + place * shown.step, shown.start + (place + 1) * shown.step - 1
        values = f"{low:,}" if low == high else f"{low:,}…{high:,}"
        if place == len(shown.counts) - 1:
            values = f"{low:,} and more"
        x, y = SIDE + place * step, HEIGHT - FOOT - height
        columns.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{max(step - 1.5, 0.5):.1f}" height="{height:.1f}">'
            f"<title>{values}: {count:,}</title></rect>"
        )
    last = shown.start + (len(shown.counts) - 1) * shown.step
    labels = _text(SIDE, HEIGHT - 4, f"{shown.start:,}")
    if last > shown.start:
        labels += _text(SIDE + step * len(shown.counts), HEIGHT - 4, f"{last:,}+", "end")
    words = f"median {shown.median:,}, mean {shown.mean:,.1f}; 98% from {shown.low:,} to {shown.high:,}"
    drawing = _svg(HEIGHT, _base(), *columns, labels)
    return f'<div class="card"><h3>{escape(title)}</h3>{drawing}<p class="note">{words}</p></div>'


def bars(rows: Sequence[tuple[str, int, int]]) -> str:
    """Horizontal bars (label, whole, part): the part in full colour over the whole."""
    widest = max((whole for _, whole, _ in rows), default=0) or 1
    lines = []
    for label, whole, part in rows:
        total, own = (100 * number / widest for number in (whole, part))
        lines.append(
            f'<div class="row"><span>{escape(label)}</span><span class="n">{part:,} of {whole:,}</span>'
            f'<div class="track"><i style="width:{total:.2f}%"></i><b style="width:{own:.2f}%"></b></div></div>'
        )
    return f'<div class="bars">{"".join(lines)}</div>'


def head_and_tail(curve: Sequence[tuple[int, int, int]]) -> str:
    """Both axes by logarithm: pairs of the query at each rank, matched (light) and selected (full)."""
    if not curve:
        return ""
    height, left = 220, 40
    most, last = max(matches for _, matches, _ in curve), curve[-1][0]
    if last == 1:
        curve = [*curve, (2, *curve[0][1:])]  # of one query: a line, as a point would not be seen
    plot_width, plot_height = CURVE_WIDTH - left - SIDE, height - FOOT - 10

    def x(rank: int) -> float:
        return left + plot_width * math.log(rank) / math.log(max(last, 2))

    def y(number: int) -> float:
        return 8 + plot_height * (1 - math.log(max(number, 1)) / math.log(max(most, 2)))

    def line(column: int, css: str) -> str:
        points = " ".join(f"{x(point[0]):.1f},{y(point[column]):.1f}" for point in curve)
        return f'<polyline class="{css}" points="{points}"/>'

    grid = []
    for power in range(math.floor(math.log10(max(most, 1))) + 1):
        level = y(10**power)
        grid.append(f'<line x1="{left}" x2="{CURVE_WIDTH - SIDE}" y1="{level:.1f}" y2="{level:.1f}"/>')
        grid.append(_text(left - 6, level + 4, short_power(power), "end"))
    for power in range(math.floor(math.log10(last)) + 1):
        grid.append(_text(x(10**power), height - 4, short_power(power), "start" if power == 0 else "middle"))
    if x(last) - x(10 ** math.floor(math.log10(last))) > MIN_LABEL_GAP:
        grid.append(_text(CURVE_WIDTH - SIDE, height - 4, f"{last:,}", "end"))
    return _svg(height, *grid, line(1, "before"), line(2, "after"), width=CURVE_WIDTH)


def short_power(power: int) -> str:
    """10^power in at most four characters: 1, 10, 100, 1k, 10k, 100k, 1M, … 1G."""
    return f"{10 ** (power % 3)}{' kMGT'[power // 3].strip()}"


def _base() -> str:
    return f'<line x1="{SIDE}" x2="{WIDTH - SIDE}" y1="{HEIGHT - FOOT}" y2="{HEIGHT - FOOT}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, *content: str, width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(content)}</svg>'


MAX_CAPTIONS = 3  # of an image in the gallery


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
            (f"{statistics.images:,}", "images"),
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
    return f"<h2>Funnel</h2>{bars(steps)}{page.table(header, reasons) if reasons else ''}"


def _failures(statistics: Statistics) -> str:
    """Where there is a funnel, it has them already."""
    if statistics.funnel or not statistics.failures:
        return ""
    return "<h2>Failures</h2>" + page.table(("reason", "number"), list(statistics.failures.items()))


def _distributions(statistics: Statistics) -> str:
    cards = [
        histogram("Width in pixels", statistics.width_px),
        histogram("Height in pixels", statistics.height_px),
        histogram("Characters a caption", statistics.caption_chars),
        histogram("Words a caption", statistics.caption_words),
        histogram("Captions an image", statistics.captions_per_image),
    ]
    return f'<h2>Images and captions</h2><div class="columns">{"".join(cards)}</div>'


def _queries(queries: QueryStatistics) -> str:
    whole = queries.all
    sentence = (
        f"{whole.matching:,} of {whole.queries:,} queries match a pair; together they match {whole.matches:,} times"
        f" and select {whole.selected:,} times under the cap, which limits {whole.capped:,} of them."
    )
    curve = (
        '<div class="card narrow"><h3>Pairs of each query, by rank</h3>'
        f'{head_and_tail(queries.curve)}<p class="note"><b class="key before"></b> matched'
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
    return f"<h2>Hosts</h2>{page.table(('host', 'images', 'share'), rows)}{note}"


def _gallery(statistics: Statistics) -> str:
    if not statistics.samples:
        return ""
    figures = []
    for sample in statistics.samples:
        more = len(sample.captions) - MAX_CAPTIONS
        lines = [*sample.captions[:MAX_CAPTIONS], *([f"and {more} more"] if more > 0 else [])]
        figures.append(page.figure([page.image(sample.jpeg, sample.captions[0])], lines))
    return f'<h2>Samples</h2><div class="gallery">{"".join(figures)}</div>'
