from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datagen.select.distinct import read_pairs
from helpers.capped import find_distinct
from helpers.pairs import Pair
from openwit.shards.notes import pair_uid

PAIRS: list[Pair] = [(f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", [i % 5, 9]) for i in range(200)]


def uids(folder: Path) -> list[str]:
    tables = [pq.read_table(path) for path in sorted((folder / "distinct").glob("*.pairs.parquet"))]
    return [f"{row['uid_high']:016x}{row['uid_low']:016x}" for table in tables for row in table.to_pylist()]


def total(counts: list[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter())


@pytest.mark.parametrize(("bundles", "partitions"), [(1, 1), (3, 1), (3, 4)])
def test_the_same_pair_from_several_files_and_bundles_counts_once(
    tmp_path: Path, bundles: int, partitions: int
) -> None:
    counts = find_distinct(tmp_path, [[PAIRS[:150]], *[[PAIRS[number:]] for number in range(bundles - 1)]], partitions)
    expected = {pair_uid(url, caption) for url, caption, _ in (PAIRS if bundles > 1 else PAIRS[:150])}
    assert sorted(uids(tmp_path)) == sorted(expected)
    found = total(counts[bundles:])
    assert found["kept"] == len(expected)
    assert found["dropped.duplicate"] == found["in"] - len(expected)
    assert found["matches"] == 2 * len(expected)


def test_matches_are_those_of_the_distinct_pairs(tmp_path: Path) -> None:
    find_distinct(tmp_path, [[PAIRS, PAIRS], [PAIRS]], 3)
    found: Counter[int] = Counter()
    for path in (tmp_path / "distinct").glob("*.counts.parquet"):
        found.update({row["query_id"]: row["matches"] for row in pq.read_table(path).to_pylist()})
    assert found == Counter(query for _, _, ids in PAIRS for query in ids)


def test_of_copies_the_first_in_the_list_of_files_stays_at_any_bundles(tmp_path: Path) -> None:
    files = [PAIRS[:100], PAIRS[50:], PAIRS[:150]]
    one, three = tmp_path / "one", tmp_path / "three"
    find_distinct(one, [files], 2)
    find_distinct(three, [[file] for file in files], 2)
    assert uids(one) == uids(three)
    for number in range(2):
        rows = pq.read_table(three / "distinct" / f"{number:05d}.pairs.parquet").to_pylist()
        first = [next(i for i, file in enumerate(files) if uid in uids_of(file)) for uid in uids_in(rows)]
        assert [row["bundle"] for row in rows] == first


def uids_of(pairs: list[Pair]) -> set[str]:
    return {pair_uid(url, caption) for url, caption, _ in pairs}


def uids_in(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['uid_high']:016x}{row['uid_low']:016x}" for row in rows]


def test_no_bundles_and_empty_bundles_give_empty_files(tmp_path: Path) -> None:
    find_distinct(tmp_path / "none", [], 2)
    find_distinct(tmp_path / "empty", [[[]], [[], []]], 2)
    for folder in ("none", "empty"):
        assert uids(tmp_path / folder) == []
        pairs = read_pairs(str(tmp_path / folder / "distinct" / "00000.pairs.parquet"))
        assert len(pairs.high) == len(pairs.query_ids) == 0
        assert pairs.offsets.tolist() == [0]
