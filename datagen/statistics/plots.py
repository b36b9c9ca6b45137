"""Plots as inline SVG, coloured by the page's style so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datagen.page import escape
from datagen.statistics.distribution import Distribution

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
