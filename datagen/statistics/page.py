"""The statistics as one HTML page: funnel, the queries' head and tail, histograms and a gallery.

The page is templates/statistics.html. The drawings are inline SVG in the page's colours, so that they follow light and
dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from datagen import page
from datagen.page import Drawing, svg, svg_text
from datagen.statistics.collect import Statistics
from datagen.statistics.distribution import Distribution
from datagen.statistics.queries import QueryRow, QueryStatistics
from datagen.statistics.terminal import human_bytes, share_rows
from openwit import storage

WIDTH, HEIGHT, FOOT, SIDE = 360, 150, 18, 4
CURVE_WIDTH = 480
MAX_BAR = 40
MIN_LABEL_GAP = 80
MAX_CAPTIONS = 3  # of an image in the gallery


def write_page(statistics: Statistics, url: str) -> None:
    """Publishes the page, which asks nothing of the network, at the URL."""
    storage.write_bytes(url, render(statistics))


def render(statistics: Statistics) -> bytes:
    """The page's bytes; equal statistics give equal bytes."""
    s = statistics
    values = {
        "title": "Data set statistics",
        "subtitle": f"Recipe {s.recipe} · {s.work}" if s.recipe else s.work,
        "footer": s.attribution,
        "statistics": s,
        "numbers": _numbers(s),
        "steps": [(f"{step.name}: {step.unit} kept", step.entered, step.kept) for step in s.funnel],
        "reasons": [(entry.reason, entry.step, entry.number, f"{entry.share:.1%}") for entry in s.most_dropped],
        "queries": _queries(s.queries) if s.queries else None,
        "histograms": _histograms(s) if s.shards else [],
        "hosts": [(host or "(none)", number, f"{number / s.images:.1%}") for host, number in s.hosts.items()],
        "max_captions": MAX_CAPTIONS,
    }
    return page.render("statistics.html", values)


def _numbers(statistics: Statistics) -> list[tuple[str, str]]:
    """The main numbers, and what each is."""
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
    return numbers


def _queries(queries: QueryStatistics) -> dict[str, object]:
    return {
        "statistics": queries,
        "curve": head_and_tail(queries.curve),
        "levels": share_rows(queries.levels, queries),
        "sources": share_rows(queries.sources, queries),
        "head": _query_rows(queries.head),
        "tail": _query_rows(queries.tail),
    }


def _query_rows(rows: Sequence[QueryRow]) -> list[tuple[object, ...]]:
    return [(row.query, row.source, row.matches, row.selected) for row in rows]


def _histograms(statistics: Statistics) -> list[Drawing]:
    return [
        histogram("Width in pixels", statistics.width_px),
        histogram("Height in pixels", statistics.height_px),
        histogram("Characters a caption", statistics.caption_chars),
        histogram("Words a caption", statistics.caption_words),
        histogram("Captions an image", statistics.captions_per_image),
    ]


def histogram(title: str, shown: Distribution) -> Drawing:
    """The bins as bars, the first and last values as labels, median and mean in words."""
    if not shown.number:
        return Drawing(title, Markup(), "None known.")
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
    labels = svg_text(SIDE, HEIGHT - 4, f"{shown.start:,}")
    if last > shown.start:
        labels += svg_text(SIDE + step * len(shown.counts), HEIGHT - 4, f"{last:,}+", "end")
    words = f"median {shown.median:,}, mean {shown.mean:,.1f}; 98% from {shown.low:,} to {shown.high:,}"
    base = f'<line x1="{SIDE}" x2="{WIDTH - SIDE}" y1="{HEIGHT - FOOT}" y2="{HEIGHT - FOOT}"/>'
    return Drawing(title, svg(WIDTH, HEIGHT, [base, *columns, labels]), words)


def head_and_tail(curve: Sequence[tuple[int, int, int]]) -> Markup:
    """Both axes by logarithm: pairs of the query at each rank, matched (light) and selected (full)."""
    if not curve:
        return Markup()
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
        grid.append(svg_text(left - 6, level + 4, short_power(power), "end"))
    for power in range(math.floor(math.log10(last)) + 1):
        grid.append(svg_text(x(10**power), height - 4, short_power(power), "start" if power == 0 else "middle"))
    if x(last) - x(10 ** math.floor(math.log10(last))) > MIN_LABEL_GAP:
        grid.append(svg_text(CURVE_WIDTH - SIDE, height - 4, f"{last:,}", "end"))
    return svg(CURVE_WIDTH, height, [*grid, line(1, "before"), line(2, "after")])


def short_power(power: int) -> str:
    """10^power in at most four characters: 1, 10, 100, 1k, 10k, 100k, 1M, … 1G."""
    return f"{10 ** (power % 3)}{' kMGT'[power // 3].strip()}"
