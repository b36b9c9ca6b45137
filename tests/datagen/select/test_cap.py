# mypy: disable-error-code="call-arg"
from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.config import CapConfig
from datagen.schemas import DISTINCT
from datagen.select import cap
from datagen.select.cap_kernel import match_keys
from helpers.capped import carry, decide, find_distinct, gather_bracketed, outside, select, selections, thresholds
from helpers.pairs import Pair, run_step
from helpers.plain_keys import mix, plain_key, unmix
from openwit.shards.notes import pair_uid

PAIRS: list[Pair] = [
    (f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", sorted({0, i % 5 + 1, i % 11 + 6})) for i in range(600)
]


def plain_cap(pairs: list[Pair], config: CapConfig) -> dict[int, set[str]]:
    """The definition of the strict cap, in plain Python."""
    distinct = {pair_uid(url, caption): query_ids for url, caption, query_ids in pairs}
    ranked: dict[int, list[tuple[int, str]]] = {}
    for uid, query_ids in distinct.items():
        for query in query_ids:
            key = plain_key(config.seed, int(uid[:16], 16), int(uid[16:], 16), query)
            ranked.setdefault(query, []).append((key, uid))
    return {query: {uid for _, uid in sorted(keys)[: config.max_pairs]} for query, keys in ranked.items()}


def queries(folder: Path) -> dict[int, dict[str, Any]]:
    return {row["query_id"]: row for row in pq.read_table(folder / "cap" / "queries.parquet").to_pylist()}


PAIR = st.tuples(st.integers(0, 20), st.integers(0, 3), st.sets(st.integers(0, 4), min_size=1, max_size=3))
FILES = st.lists(st.lists(PAIR, max_size=25), max_size=4)


@settings(max_examples=25, deadline=None)
@given(FILES, st.integers(1, 8), st.integers(0, 2**64 - 1), st.integers(1, 5), st.sets(st.integers(0, 3)))
def test_the_subset_is_the_plain_definition_at_any_bundles_and_partitions(
    drawn: list[list[tuple[int, int, set[int]]]], most: int, seed: int, num_partitions: int, cuts: set[int]
) -> None:
    known: dict[tuple[int, int], list[int]] = {}  # the same caption always matches the same queries
    for image, caption, query_ids in itertools.chain(*drawn):
        known.setdefault((image, caption), sorted(query_ids))
    files = [[(f"http://a.test/{p}", f"caption {c}", known[p, c]) for p, c, _ in file] for file in drawn]
    ends = [0, *sorted(cut for cut in cuts if cut < len(files)), len(files)]
    bundles = [files[start:end] for start, end in itertools.pairwise(ends)]
    config = CapConfig(max_pairs=most, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        rows = carry(Path(folder), bundles, config, num_partitions)
    assert selections(rows) == plain_cap([pair for file in files for pair in file], config)


@pytest.mark.parametrize(("num_files", "num_partitions"), [(1, 1), (4, 2), (3, 7)])
def test_the_rows_are_the_same_at_any_order_of_the_files_rows(
    tmp_path: Path, num_files: int, num_partitions: int
) -> None:
    config = CapConfig(max_pairs=30)
    expected = carry(tmp_path / "one", [[PAIRS]], config, 1)
    shuffled = [PAIRS[::-1][start::num_files] for start in range(num_files)]
    found = carry(tmp_path / "many", [[file] for file in shuffled], config, num_partitions)
    assert sorted(found, key=lambda row: row["url"]) == sorted(expected, key=lambda row: row["url"])


def test_each_query_selects_exactly_the_smaller_of_cap_and_matches(tmp_path: Path) -> None:
    found = selections(carry(tmp_path, [[PAIRS]], CapConfig(max_pairs=50), 3))
    matches = {q: sum(q in ids for _, _, ids in PAIRS) for q in range(17)}
    assert {q: len(uids) for q, uids in found.items()} == {q: min(50, n) for q, n in matches.items() if n}
    assert {q: (row["matches"], row["selected"]) for q, row in queries(tmp_path).items()} == {
        q: (n, min(50, n)) for q, n in matches.items() if n
    }


@pytest.mark.parametrize("shift", [-(2**31), 2**31])
def test_a_window_that_misses_the_last_key_costs_time_and_no_exactness(tmp_path: Path, shift: int) -> None:
    config = CapConfig(max_pairs=50)
    expected = carry(tmp_path, [[PAIRS]], config, 3)
    decided = queries(tmp_path)
    path = tmp_path / "cap" / "brackets.parquet"
    table = pq.read_table(path)
    first, last = (np.clip(table[name].to_numpy().astype(np.int64) + shift, 0, 2**32 - 1) for name in ("first", "last"))
    capped = table["matches"].to_numpy() > 50
    for name, ends, none in (("first", first, 1), ("last", last, 0)):
        column = pa.array(np.where(capped, ends, none).astype(np.uint32))
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, path)
    gather_bracketed(tmp_path, config)
    counts = thresholds(tmp_path, config)
    assert counts["brackets_missed"] > 0
    assert queries(tmp_path) == decided
    assert select(tmp_path, config) == expected


def test_windows_hold_the_last_key_and_little_else(tmp_path: Path) -> None:
    many = [(f"http://a.test/{i}", "x", [0]) for i in range(20_000)]
    find_distinct(tmp_path, [[many]], 2)
    counts = decide(tmp_path, CapConfig(max_pairs=1000))
    assert counts[-1]["brackets_missed"] == 0
    tables = [pq.read_table(path) for path in (tmp_path / "cap" / "bracketed").glob("*.parquet")]
    inside = sum(len(row["inside"]) for table in tables for row in table.to_pylist())
    assert 400 < inside < 700  # of 20,000; eight deviations of 32 on both sides


def test_queries_are_decided_range_by_range_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"http://a.test/{i}", "x", [i % 4, 4 + i % 9]) for i in range(900)]
    config = CapConfig(max_pairs=7)
    monkeypatch.setattr(cap, "RANGE_BYTES", 12_000)
    assert cap._range_rows(config) == 4
    assert selections(carry(tmp_path, [[pairs]], config, 3)) == plain_cap(pairs, config)


def test_of_equal_keys_those_of_the_smaller_uids_are_selected(tmp_path: Path) -> None:
    start = mix(0x9E3779B97F4A7C15)
    uids = [(high, unmix(42) ^ mix(high ^ start)) for high in (1, 5, 9, 12)]  # made to have one key for query 0
    assert len(set(match_keys(np.uint64(0), *np.array(uids, np.uint64).T.copy(), np.zeros(4, np.int32)).tolist())) == 1
    (tmp_path / "distinct").mkdir()
    for number, own in enumerate((uids[::2], uids[1::2])):
        rows = [dict(zip(DISTINCT.names, (*uid, 0, 0, [0]), strict=True)) for uid in own]
        pq.write_table(pa.Table.from_pylist(rows, DISTINCT), tmp_path / "distinct" / f"{number:05d}.pairs.parquet")
        counts = pa.table({"query_id": pa.array([0], pa.int32()), "matches": [2]})
        pq.write_table(counts, tmp_path / "distinct" / f"{number:05d}.counts.parquet")
    decide(tmp_path, CapConfig(max_pairs=3))
    assert (queries(tmp_path)[0]["uid_high"], queries(tmp_path)[0]["uid_low"]) == uids[2]


def test_the_seed_changes_which_pairs_are_taken(tmp_path: Path) -> None:
    one = selections(carry(tmp_path / "a", [[PAIRS]], CapConfig(max_pairs=30, seed=0), 2))
    two = selections(carry(tmp_path / "b", [[PAIRS]], CapConfig(max_pairs=30, seed=1), 2))
    negative = selections(carry(tmp_path / "c", [[PAIRS]], CapConfig(max_pairs=30, seed=-1), 2))
    assert len({frozenset(found[0]) for found in (one, two, negative)}) == 3


def test_expected_mode_keeps_a_pair_by_its_share_of_the_keys(tmp_path: Path) -> None:
    config = CapConfig(max_pairs=150, mode="expected")
    found = selections(carry(tmp_path, [[PAIRS[:300]], [PAIRS[200:]]], config, 3))
    uids = [pair_uid(url, caption) for url, caption, _ in PAIRS]
    keys = [plain_key(0, int(uid[:16], 16), int(uid[16:], 16), 0) for uid in uids]
    assert found[0] == {uid for uid, key in zip(uids, keys, strict=True) if key / 2**64 < 150 / 600}
    assert len(found[1]) == 120


def test_expected_mode_looks_into_no_window(tmp_path: Path) -> None:
    find_distinct(tmp_path, [[PAIRS]], 2)
    counts = decide(tmp_path, CapConfig(max_pairs=50, mode="expected"))
    assert [entry["in"] for entry in counts[1:-1]] == [0, 0]
    assert counts[0]["queries_capped"] == counts[-1]["queries_capped"] > 0


def test_nothing_matched_gives_empty_files_and_no_error(tmp_path: Path) -> None:
    assert carry(tmp_path, [[[], []]], CapConfig(max_pairs=5), 2) == []
    assert queries(tmp_path) == {}


def test_counts_of_many_partitions_are_added_up(tmp_path: Path) -> None:
    find_distinct(tmp_path, [[PAIRS]], 9)
    run_step(
        cap.brackets, CapConfig(), {"counted": outside(tmp_path / "distinct", ".counts.parquet")}, tmp_path / "cap"
    )
    found = {
        row["query_id"]: row["matches"] for row in pq.read_table(tmp_path / "cap" / "brackets.parquet").to_pylist()
    }
    assert found == {q: n for q in range(17) if (n := sum(q in ids for _, _, ids in PAIRS))}
