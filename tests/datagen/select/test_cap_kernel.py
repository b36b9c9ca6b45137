# mypy: disable-error-code="arg-type"
from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.select import cap_kernel
from datagen.select.cap_kernel import MAX_KEY
from helpers.plain_keys import mix, plain_key, unmix
from openwit.shards.notes import pair_uid

U64 = st.integers(0, MAX_KEY)
QUERY = st.integers(0, 5)
PAIRS = st.lists(st.tuples(U64, U64, st.lists(QUERY, max_size=4, unique=True)), max_size=30)


def arrays(pairs: list[tuple[int, int, list[int]]]) -> cap_kernel.PairArrays:
    high, low = (np.array([pair[half] for pair in pairs], np.uint64) for half in (0, 1))
    offsets = np.cumsum([0, *(len(pair[2]) for pair in pairs)]).astype(np.int32)
    return high, low, offsets, np.array([query for pair in pairs for query in pair[2]], np.int32)


def test_subsets_do_not_move_from_version_to_version() -> None:
    uid = pair_uid("http://a.test/x.jpg", "a cat")
    high, low = (np.array([int(half, 16)], np.uint64) for half in (uid[:16], uid[16:]))
    matches = high, low, np.array([41], np.int32)
    found = [int(cap_kernel.match_keys(np.uint64(seed), *matches)[0]) for seed in (0, 7)]
    assert found == [5438363827826321640, 14326755066912839548]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, MAX_KEY), st.lists(st.tuples(U64, U64, st.integers(0, 2**31 - 1)), max_size=20))
def test_a_key_is_the_plain_definition(seed: int, matches: list[tuple[int, int, int]]) -> None:
    high, low = (np.array([match[half] for match in matches], np.uint64) for half in (0, 1))
    found = cap_kernel.match_keys(np.uint64(seed), high, low, np.array([match[2] for match in matches], np.int32))
    assert found.tolist() == [plain_key(seed, *match) for match in matches]


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=6, max_size=6))
def test_windows_count_the_keys_under_them_and_mark_those_inside(
    pairs: list[tuple[int, int, list[int]]], brackets: list[tuple[int, int]]
) -> None:
    brackets = [(min(bracket), max(bracket)) for bracket in brackets[:4]] + [(1, 0), (0, 2**32 - 1)]
    first, last = (np.array([bracket[end] for bracket in brackets], np.uint32) for end in (0, 1))
    data = arrays(pairs)
    below, inside = np.zeros(6, np.int32), np.zeros(len(data[3]), bool)
    cap_kernel.mark_bracketed(np.uint64(3), data, (first, last), below, inside)
    uppers = [(query, plain_key(3, high, low, query) >> 32) for high, low, ids in pairs for query in ids]
    assert inside.tolist() == [brackets[query][0] <= upper <= brackets[query][1] for query, upper in uppers]
    for query in (0, 1, 2, 3, 5):
        assert below[query] == sum(upper < brackets[query][0] for other, upper in uppers if other == query)


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.lists(U64, min_size=6, max_size=6), st.data())
def test_a_pair_is_selected_up_to_the_last_key_and_uid(
    pairs: list[tuple[int, int, list[int]]], limits: list[int], data: st.DataObject
) -> None:
    matches = [(high, low, query) for high, low, ids in pairs for query in ids]
    last = [(limit, 0, 0) for limit in limits]
    if matches:  # the limits that occur are keys of the data
        high, low, query = data.draw(st.sampled_from(matches))
        uid = data.draw(st.sampled_from([(high, low), (high, max(low - 1, 0)), (max(high - 1, 0), MAX_KEY)]))
        last[query] = (plain_key(3, high, low, query), *uid)
    built = arrays(pairs)
    chosen, number = np.empty(len(matches), bool), np.empty(len(pairs), np.int32)
    columns = tuple(np.array([entry[part] for entry in last], np.uint64) for part in range(3))
    cap_kernel.mark_selected(
        np.uint64(3), built, (columns[0] >> np.uint64(32)).astype(np.uint32), columns, chosen, number
    )
    assert chosen.tolist() == [(plain_key(3, *match), *match[:2]) <= last[match[2]] for match in matches]
    assert number.tolist() == [int(chosen[start:end].sum()) for start, end in zip(built[2], built[2][1:], strict=False)]


def test_of_equal_keys_those_of_the_smaller_uids_are_selected() -> None:
    start = mix(0x9E3779B97F4A7C15)
    pairs = [(high, unmix(42) ^ mix(high ^ start), [0]) for high in (5, 1, 9)]  # made to have one key
    assert len({plain_key(0, high, low, 0) for high, low, _ in pairs}) == 1
    last = tuple(np.array([part], np.uint64) for part in (plain_key(0, *pairs[0][:2], 0), *pairs[0][:2]))
    chosen, number = np.empty(3, bool), np.empty(3, np.int32)
    upper = (last[0] >> np.uint64(32)).astype(np.uint32)
    cap_kernel.mark_selected(np.uint64(0), arrays(pairs), upper, last, chosen, number)
    assert chosen.tolist() == [True, True, False]


def test_keys_are_spread_evenly() -> None:
    uids = [pair_uid("http://x.test/", str(i)) for i in range(4000)]
    high, low = (np.array([int(uid[part], 16) for uid in uids], np.uint64) for part in (slice(16), slice(16, 32)))
    found = cap_kernel.match_keys(np.uint64(0), high, low, np.zeros(4000, np.int32))
    shares = np.histogram(found.astype(np.float64) / 2.0**64, bins=8, range=(0, 1))[0] / 4000
    assert np.abs(shares - 1 / 8).max() < 0.02


@given(st.lists(QUERY, max_size=50))
def test_matches_are_counted(query_ids: list[int]) -> None:
    found = np.zeros(6, np.int32)
    cap_kernel.count_matches(np.array(query_ids, np.int32), found)
    assert found.tolist() == [query_ids.count(query) for query in range(6)]
