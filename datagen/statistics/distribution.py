"""A distribution of whole numbers (sizes, lengths), kept as counts a value and shown in a few even bins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

NUM_BINS = 24


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Bin i holds counts[i] values v with start + i * step <= v < start + (i + 1) * step; the last one also holds
    all values above."""

    number: int
    mean: float
    median: int
    low: int  # first percentile
    high: int  # 99th percentile
    start: int
    step: int
    counts: list[int]


def distribution(values: Counter[int]) -> Distribution:
    """The distribution of value → how often it occurs; all zeros without values."""
    number = values.total()
    if not number:
        return Distribution(number=0, mean=0.0, median=0, low=0, high=0, start=0, step=1, counts=[])
    low, median, high = (_quantile(values, share) for share in (0.01, 0.5, 0.99))
    start = min(values)
    step = _nice_step((high - start + 1) / NUM_BINS)
    start = start // step * step
    counts = [0] * ((high - start) // step + 1)
    for value, times in values.items():
        counts[min((value - start) // step, len(counts) - 1)] += times
    mean = sum(value * times for value, times in values.items()) / number
    return Distribution(
        number=number, mean=round(mean, 2), median=median, low=low, high=high, start=start, step=step, counts=counts
    )


def _quantile(values: Counter[int], share: float) -> int:
    """The smallest value that at least this share of all does not exceed."""
    seen, wanted = 0, share * values.total()
    for value in sorted(values):
        seen += values[value]
        if seen >= wanted:
            return value
    raise AssertionError("a share is at most 1")


def _nice_step(wanted: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 … that is at least as large."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor >= wanted:
                return step * factor
        step *= 10
