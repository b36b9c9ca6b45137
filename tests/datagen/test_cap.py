from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen import cap
from datagen.config import CapConfig
from datagen.schemas import pair_uid
from helpers.pairs import Pair, run_step, write_matched
from openwit.stage import Input

PAIRS = [(f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", sorted({0, i % 5 + 1, i % 11 + 6})) for i in range(600)]


def select(folder: Path, files: list[list[Pair]], config: CapConfig, num_partitions: int) -> list[dict]:
    """All selected rows, carried through the three steps."""
    matched = tuple(write_matched(folder / "matched", i, pairs, num_partitions) for i, pairs in enumerate(files))
    for index in range(num_partitions):
        run_step(cap.count, config, {"matched": matched}, folder / "counts", index)
    counted = tuple(Input.outside(str(folder / "counts" / f"{i:05d}.parquet")) for i in range(num_partitions))
    run_step(cap.thresholds, config, {"counted": counted}, folder)
    inputs = {"matched": matched, "thresholds": (Input.outside(str(folder / "queries.parquet")),)}
    rows: list[dict] = []
    for index in range(num_partitions):
        counts = run_step(cap.select, config, inputs, folder / "selected", index)
        assert counts["in"] == counts["kept"] + counts["dropped.duplicate"] + counts["dropped.capped"]
        rows += pq.read_table(folder / "selected" / f"{index:05d}.parquet").to_pylist()
    return rows


def selections(rows: list[dict]) -> dict[int, set[str]]:
    """The uids that each query selected."""
    found: dict[int, set[str]] = {}
    for row in rows:
        for caption in row["captions"]:
            for query in caption["selected_by"]:
                found.setdefault(query, set()).add(caption["uid"])
    return found


def test_each_query_selects_exactly_the_smaller_of_cap_and_matches(tmp_path: Path) -> None:
    found = selections(select(tmp_path, [PAIRS], CapConfig(max_pairs=50), 3))
    matches = {q: sum(q in ids for _, _, ids in PAIRS) for q in range(17)}
    assert {q: len(uids) for q, uids in found.items()} == {q: min(50, n) for q, n in matches.items() if n}


def test_the_subset_is_the_plain_definition(tmp_path: Path) -> None:
    config = CapConfig(max_pairs=20, seed=3)
    found = selections(select(tmp_path, [PAIRS], config, 2))
    uids = [pair_uid(url, caption) for url, caption, _ in PAIRS]
    for query in found:
        rows = np.array([i for i, (_, _, ids) in enumerate(PAIRS) if query in ids])
        keys = cap.pair_keys(3, pa.chunked_array([uids]), np.full(len(rows), query, np.int32), rows)
        assert found[query] == {uids[i] for i in rows[np.argsort(keys)][:20]}


@pytest.mark.parametrize(("num_files", "num_partitions"), [(1, 1), (4, 2), (3, 7)])
def test_the_subset_does_not_depend_on_files_order_or_partitions(
    tmp_path: Path, num_files: int, num_partitions: int
) -> None:
    config = CapConfig(max_pairs=30)
    expected = selections(select(tmp_path / "one", [PAIRS], config, 1))
    shuffled = [PAIRS[::-1][i::num_files] for i in range(num_files)]
    assert selections(select(tmp_path / "many", shuffled, config, num_partitions)) == expected


def test_the_same_pair_from_several_pages_counts_once(tmp_path: Path) -> None:
    found = selections(select(tmp_path, [PAIRS[:40], PAIRS[:40] + PAIRS[:40]], CapConfig(max_pairs=1000), 2))
    assert len(found[0]) == 40


def test_an_image_is_one_row_with_all_its_captions(tmp_path: Path) -> None:
    rows = select(tmp_path, [PAIRS], CapConfig(max_pairs=10_000), 2)
    assert len(rows) == len({url for url, _, _ in PAIRS})
    assert sum(len(row["captions"]) for row in rows) == len(PAIRS)


def test_the_seed_changes_which_pairs_are_taken(tmp_path: Path) -> None:
    one = selections(select(tmp_path / "a", [PAIRS], CapConfig(max_pairs=30, seed=0), 2))
    two = selections(select(tmp_path / "b", [PAIRS], CapConfig(max_pairs=30, seed=1), 2))
    assert one[0] != two[0]


def test_expected_mode_keeps_about_the_cap_and_everything_below_it(tmp_path: Path) -> None:
    found = selections(select(tmp_path, [PAIRS], CapConfig(max_pairs=150, mode="expected"), 2))
    assert 100 < len(found[0]) < 200
    assert len(found[1]) == 120


def test_nothing_matched_gives_empty_files_and_no_error(tmp_path: Path) -> None:
    assert select(tmp_path, [[], []], CapConfig(max_pairs=5), 2) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**31 - 1)), max_size=20))
def test_a_key_depends_on_seed_uid_and_query_alone(seed: int, matches: list[tuple[str, int]]) -> None:
    uids = [pair_uid("http://x.test/", text) for text, _ in matches]
    queries = np.array([query for _, query in matches], np.int32)
    together = cap.pair_keys(seed, pa.chunked_array([pa.array(uids, pa.string())]), queries, np.arange(len(uids)))
    for i, uid in enumerate(uids):
        alone = cap.pair_keys(seed, pa.chunked_array([[uid]]), queries[i : i + 1], np.zeros(1, np.int64))
        assert together[i] == alone[0]


def test_keys_are_spread_evenly() -> None:
    uids = pa.chunked_array([[pair_uid("http://x.test/", str(i)) for i in range(4000)]])
    keys = cap.pair_keys(0, uids, np.zeros(4000, np.int32), np.arange(4000))
    shares = np.histogram(keys.astype(np.float64) / 2.0**64, bins=8, range=(0, 1))[0] / 4000
    assert np.abs(shares - 1 / 8).max() < 0.02
