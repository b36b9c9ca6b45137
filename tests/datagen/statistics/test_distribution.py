from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from datagen.statistics.distribution import NUM_BINS, distribution

VALUES = st.dictionaries(st.integers(0, 5000), st.integers(1, 50), min_size=1, max_size=60).map(Counter)


def test_numbers_by_hand() -> None:
    shown = distribution(Counter({10: 1, 20: 2, 30: 1}))
    assert (shown.number, shown.mean, shown.median, shown.low, shown.high) == (4, 20.0, 20, 10, 30)
    assert (shown.start, shown.step) == (10, 1)
    assert [shown.counts[i] for i in (0, 10, 20)] == [1, 2, 1]


def test_nothing_gives_zeros() -> None:
    assert distribution(Counter()).number == 0


def test_far_outliers_fall_into_the_last_bin() -> None:
    shown = distribution(Counter(dict.fromkeys(range(100), 10) | {1_000_000: 1}))
    assert len(shown.counts) <= NUM_BINS + 1
    assert sum(shown.counts) == 1001


@given(VALUES)
def test_bins_are_few_and_hold_every_value(values: Counter[int]) -> None:
    shown = distribution(values)
    assert sum(shown.counts) == shown.number == values.total()
    assert 1 <= len(shown.counts) <= NUM_BINS + 1
    assert shown.start <= min(values)
    ordered = sorted(values.elements())
    assert shown.median == ordered[(len(ordered) + 1) // 2 - 1]
