from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.select import cap, distinct, selection, shuffle
from pipelines.cost.rates import OF_QUERIES, RATES, Settings, WorkDone, estimate, expected_pairs, expected_selections
from wit_queries.matching import stage as query_table

SETTINGS = Settings(
    pairs=1e9,
    files=2000,
    bundle_bytes=512e6,
    num_partitions=50,
    num_queries=500_000,
    max_pairs=20_000,
    shard_rows=10_000,
    until="shards",
)


def test_the_table_has_every_stage_of_the_line_in_order() -> None:
    stages = (shuffle.STAGE, distinct.STAGE, cap.BRACKET, cap.GATHER_BRACKETED, cap.THRESHOLD, selection.STAGE)
    names = [stage.name for stage in stages]
    assert list(RATES) == [query_table.STAGE.name, "match", *names, "crawl"]
    assert all(rate.known_from for rate in RATES.values())
    assert [entry.stage for entry in estimate(SETTINGS, {})] == list(RATES)
    assert [entry.stage for entry in estimate(replace(SETTINGS, until="selected"), {})] == list(RATES)[:-1]


def test_a_run_without_anything_done_costs_what_the_table_says() -> None:
    _, match, shuffled, *_ = estimate(SETTINGS, {})
    assert (match.partitions, match.done, match.known_from) == (2000, 0, RATES["match"].known_from)
    assert match.core_s == pytest.approx(1e9 / RATES["match"].rows_per_core_s)
    assert match.rows == pytest.approx(1e9 * RATES["match"].kept)
    assert shuffled.core_s == pytest.approx(match.rows / RATES["shuffle"].rows_per_core_s)
    assert shuffled.partitions == -(-match.bytes // 512e6)


def test_what_this_run_has_done_replaces_the_tables_rate_and_what_enters_the_next_stage() -> None:
    done = WorkDone(partitions=2000, done=500, kept=5_000_000, bytes=10**9, seconds=8.0)
    _, match, shuffled, *_ = estimate(SETTINGS, {"match": done})
    assert (match.core_s, match.rows, match.bytes, match.known_from) == (1500 * 8.0, 2e7, 4e9, "this run")
    assert shuffled.core_s == pytest.approx(2e7 / RATES["shuffle"].rows_per_core_s)
    assert shuffled.partitions == 8


def test_a_stage_that_is_planned_but_not_begun_has_its_true_number_of_partitions() -> None:
    match = estimate(SETTINGS, {"match": WorkDone(partitions=7, done=0, kept=0, bytes=0, seconds=0.0)})[1]
    assert (match.partitions, match.done, match.known_from) == (7, 0, RATES["match"].known_from)
    assert match.core_s > 0


def test_a_finished_stage_costs_nothing_more() -> None:
    match = estimate(SETTINGS, {"match": WorkDone(partitions=7, done=7, kept=70, bytes=7, seconds=3.0)})[1]
    assert (match.core_s, match.wall_s(4), match.rows) == (0.0, 0.0, 70)


@pytest.mark.parametrize(("workers", "wall_s"), [(1, 12.0), (2, 8.0), (3, 4.0), (1024, 4.0)])
def test_workers_take_whole_partitions(workers: int, wall_s: float) -> None:
    done = WorkDone(partitions=5, done=2, kept=4, bytes=4, seconds=4.0)
    assert estimate(SETTINGS, {"match": done})[1].wall_s(workers) == wall_s


def test_the_queries_of_the_published_pool_select_its_published_number_of_pairs() -> None:
    """arXiv:2309.16671: 1.6 billion pairs under 500,000 queries and a cap of 20,000 gave 400 million."""
    assert expected_pairs(SETTINGS, 1.6e9) == pytest.approx(4e8, rel=0.05)


@given(st.floats(1, 1e11), st.integers(1, 2000), st.integers(1, 10**6))
def test_selections_never_exceed_matches_nor_the_cap_of_all_queries(matches: float, queries: int, most: int) -> None:
    selections = expected_selections(matches, queries, most)
    assert 0 < selections <= min(matches, queries * most) * (1 + 1e-9)
    assert expected_selections(2 * matches, queries, most) >= selections


def test_under_a_cap_that_nothing_reaches_every_pair_is_selected() -> None:
    assert expected_pairs(SETTINGS, 1000) == 1000


def test_pairs_only_become_fewer_along_the_line() -> None:
    rows = [entry.rows for entry in estimate(SETTINGS, {}) if entry.stage not in OF_QUERIES]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] < SETTINGS.pairs


def test_the_crawl_fetches_fewer_images_than_there_are_pairs() -> None:
    """Some pairs share an image: 1.2 of them each."""
    *_, selected, crawl = estimate(SETTINGS, {})
    assert crawl.core_s == pytest.approx(selected.rows / 1.2 / RATES["crawl"].rows_per_core_s)
