"""The paper's figure 17: what overlap did to accuracy, as inline SVG in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from datagen.duplicates.overlap.accuracy import Accuracy
from datagen.page import Drawing, svg, svg_text

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, FOOT = 46, 14, 12, 40
MAX_NAMED = 8  # sets; of more, only those that differ are named
LEVELS = (0.001, 0.05)  # of p, as in the paper


@dataclass(frozen=True)
class _Point:
    """A set: x its share of overlap, y, and the ends of y's interval, all in percent."""

    name: str
    x: float
    y: float
    ends: tuple[float, float] | None
    css: str  # sure, some or empty
    note: str

    @property
    def heights(self) -> tuple[float, ...]:
        return (self.y, *(self.ends or ()))


def overlap_and_accuracy(sets: Sequence[tuple[str, float, Accuracy]]) -> list[Drawing]:
    """Two drawings. First: accuracy on overlapping less that on clean images, with its 99.5% interval. Second: what
    overlap adds to the whole set's accuracy. Both over the share of overlap; sets without both subsets are left out;
    where no set has them, there is no drawing."""
    left, right = [], []
    for name, share, accuracy in sets:
        ends, gain, difference = accuracy.difference_interval, accuracy.gain, accuracy.difference
        if ends is None or gain is None or difference is None:
            continue
        p_value = 1.0 if accuracy.p_value is None else accuracy.p_value
        note = f"{name}: overlap {share:.2%}, difference {100 * difference:+.1f} ({100 * ends[0]:+.1f} to "
        note += f"{100 * ends[1]:+.1f}), gain {100 * gain:+.2f}, p {p_value:.2g}"
        interval = (100 * ends[0], 100 * ends[1])
        left.append(_Point(name, 100 * share, 100 * difference, interval, "sure" if accuracy.differs else "", note))
        css = "sure" if p_value < LEVELS[0] else "some" if p_value < LEVELS[1] else ""
        right.append(_Point(name, 100 * share, 100 * gain, None, css, note))
    if not left:
        return []
    return [
        Drawing(
            "Overlapping against clean images",
            _panel(left, "difference in accuracy, points"),
            "Accuracy on overlapping less that on clean images, with its 99.5% Clopper-Pearson interval; full where"
            " the interval leaves out 0.",
        ),
        Drawing(
            "What overlap adds to the set's accuracy",
            _panel(right, "all − clean, points"),
            "All − Clean; full where p < 0.001, light where p < 0.05 (one-tailed binomial test).",
        ),
    ]


def _panel(points: Sequence[_Point], label: str) -> Markup:
    heights = [0.0, *(y for point in points for y in point.heights)]
    xs, ys = ticks(0.0, max(point.x for point in points)), ticks(min(heights), max(heights))

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - xs[0]) / (xs[-1] - xs[0])

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - FOOT) * (ys[-1] - value) / (ys[-1] - ys[0])

    marks = []
    for tick in ys:
        css = ' class="zero"' if tick == 0 else ""
        marks.append(f'<line{css} x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        marks.append(svg_text(LEFT - 6, y(tick) + 4, f"{tick:+g}" if tick else "0", "end"))
    marks += [svg_text(x(tick), HEIGHT - FOOT + 16, f"{tick:g}%", "middle") for tick in xs]
    marks.append(svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "share of the set that overlaps", "middle"))
    marks.append(
        f'<g transform="translate(11 {(HEIGHT - FOOT) / 2:.0f}) rotate(-90)">{svg_text(0, 0, label, "middle")}</g>'
    )
    for point in points:
        marks.append(_mark(point, x, y))
        if len(points) <= MAX_NAMED or point.css:
            is_far = x(point.x) > WIDTH * 0.7
            marks.append(
                svg_text(x(point.x) + (-8 if is_far else 8), y(point.y) - 6, point.name, "end" if is_far else "start")
            )
    return svg(WIDTH, HEIGHT, marks)


def _mark(point: _Point, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    at, bar = x(point.x), ""
    if point.ends:
        low, high = (y(end) for end in point.ends)
        bar = f'<line class="error {point.css}" x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    title = f"<title>{escape(point.note)}</title>"
    return f'<g>{title}{bar}<circle class="dot {point.css}" cx="{at:.1f}" cy="{y(point.y):.1f}" r="4.5"/></g>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart), four to eight, that enclose both ends."""
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]
