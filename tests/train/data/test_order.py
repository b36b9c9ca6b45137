from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.errors import ConfigError
from train.data.order import ShardRange, deal, draw, lane_size, lanes_of_rank, permutation, steps_per_epoch, window_at

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=12)


def part(sizes: Any, passes: Any = 1.0, number: int = 0) -> Any:
    return ShardRange(number, tuple(enumerate(sizes)), passes)


def used(part: Any, seed: int, epoch: int) -> Any:
    """How often each sample of the part is used, by (shard, place); and all (shard, place, copy)."""
    rows = [(s.shard, n, s.copy) for s in part.segments(seed, epoch) for n in range(s.start, s.stop)]
    return Counter(row[:2] for row in rows), rows


@given(SIZES, st.integers(1, 16), st.integers(0, 5), st.integers(0, 5))
def test_every_sample_is_in_exactly_one_lane_and_lanes_differ_by_one(
    sizes: Any, num_lanes: int, seed: int, epoch: int
) -> None:
    lanes = deal(part(sizes).segments(seed, epoch), num_lanes, seed, epoch)
    places = [(s.shard, place) for lane in lanes for s in lane for place in range(s.start, s.stop)]
    assert sorted(places) == [(shard, place) for shard, size in enumerate(sizes) for place in range(size)]
    lengths = [lane_size(lane) for lane in lanes]
    assert len(lanes) == num_lanes
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 3))
def test_the_windows_of_a_lane_use_each_sample_once_and_stay_in_sequence(
    num_samples: int, size: int, epoch: int
) -> None:
    used = []
    for place in range(num_samples):
        window = window_at(place, num_samples, size, 7, epoch, 2)
        assert window.start <= place < window.start + len(window.places) <= window.start + size
        used.append(window.start + int(window.places[place - window.start]))
    assert sorted(used) == list(range(num_samples))
    assert all(abs(one - place) < size for place, one in enumerate(used))


@given(SIZES, st.floats(0.02, 4), st.integers(1, 16), st.integers(0, 3), st.integers(0, 40))
def test_lanes_hold_each_use_of_a_sample_that_the_parts_have_exactly_once(
    sizes: Any, passes: Any, num_lanes: int, seed: int, epoch: int
) -> None:
    whole = part(sizes, passes)
    _, rows = used(whole, seed, epoch)
    lanes = deal(whole.segments(seed, epoch), num_lanes, seed, epoch)
    dealt = [(s.shard, n, s.copy) for lane in lanes for s in lane for n in range(s.start, s.stop)]
    assert sorted(dealt) == sorted(rows)
    assert len(set(rows)) == len(rows) == whole.num_rows


@given(SIZES, st.floats(0.02, 3), st.integers(0, 3))
def test_epochs_are_of_one_length_and_use_all_samples_equally_often(sizes: Any, passes: Any, seed: int) -> None:
    whole, total = part(sizes, passes), Counter()  # type: ignore[var-annotated]
    for epoch in range(6):
        uses, rows = used(whole, seed, epoch)
        total += uses
        assert len(rows) == whole.num_rows
        assert abs(len(rows) - passes * whole.num_samples) <= 0.5 + 1e-6
        assert {copy for *_, copy in rows} <= set(range(int(passes) + 1))
        times = [total[shard, place] for shard, size in enumerate(sizes) for place in range(size)]
        assert max(times) - min(times) <= 1


def test_a_part_of_a_pass_goes_on_where_the_epoch_before_ended() -> None:
    third, rows = part([4, 5, 3], 1 / 3), []
    for epoch in range(6):
        rows += [(s.shard, n) for s in third.segments(7, epoch) for n in range(s.start, s.stop)]
    assert rows[:12] == rows[12:]
    assert len(set(rows)) == 12
    assert rows != [(s.shard, n) for s in third.segments(8, 0) for n in range(s.start, s.stop)] + rows[4:]


def test_parts_of_one_mixture_have_rings_of_their_own() -> None:
    first = {tuple((s.shard, s.start) for s in part([1] * 30, 0.5, number).segments(0, 0)) for number in range(4)}
    assert len(first) == 4


@given(st.integers(1, 8), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_ranks_share_the_lanes_without_overlap(factor: int, num_ranks: Any) -> None:
    num_lanes = 12 * factor
    shares = [list(lanes_of_rank(rank, num_ranks, num_lanes)) for rank in range(num_ranks)]
    assert sorted(lane for share in shares for lane in share) == list(range(num_lanes))
    assert len({len(share) for share in shares}) == 1


def test_the_order_is_the_same_on_every_machine_and_version() -> None:
    assert permutation(8, "shards", 0, 0).tolist() == [1, 3, 2, 4, 6, 5, 7, 0]
    assert draw("crop", 0, 0, "000000001") == 8087010420400945067


def test_epochs_and_seeds_have_their_own_order() -> None:
    orders = {tuple(permutation(64, "shards", seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_an_epoch_has_only_steps_that_every_lane_can_fill() -> None:
    assert steps_per_epoch(1000, 0, 64, 8) == 15
    assert steps_per_epoch(1000, 50, 64, 8) == 14
    assert steps_per_epoch(64, 0, 64, 8) == 1


@pytest.mark.parametrize(
    ("samples", "excluded", "advice"), [(63, 0, "write 56"), (100, 40, "write 56"), (5, 0, "data")]
)
def test_a_data_set_smaller_than_a_batch_is_refused_with_the_largest_that_works(
    samples: int, excluded: int, advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice):
        steps_per_epoch(samples, excluded, 64, 8)
