from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from datagen.duplicates.within.config import GroupsConfig
from datagen.duplicates.within.fingerprint import NODES, node_id
from datagen.duplicates.within.groups import WITHIN, components, exclude_copies, process
from datagen.duplicates.within.pairs import PAIRS
from datagen.shards.exclusions import EXCLUSIONS
from openwit.stage import Input, Source, Target


def plain_components(pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    """By merging sets until nothing changes."""
    groups: list[set[int]] = []
    for pair in pairs:
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched] + [set(pair).union(*touched)]
    return {frozenset(group) for group in groups}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_components_are_those_of_merging_sets(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array([pair[side] for pair in pairs], np.uint64) for side in (0, 1))
    ids, numbers = components(a, b)
    found = {frozenset(ids[numbers == number].tolist()) for number in set(numbers.tolist())}
    assert found == plain_components(pairs)


def group(
    folder: Path, pairs: list[tuple[int, int, int, float]], nodes: dict[int, tuple[int, str]]
) -> list[dict[str, object]]:
    """The rows of within.parquet; `nodes` are id → (area, uid)."""
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.table([list(column) for column in zip(*pairs, strict=True)], schema=PAIRS), folder / "00000.parquet"
    )
    for shard in (0, 3):
        own = sorted(number for number in nodes if number >> 32 == shard)
        rows = [
            {"id": n, "key": f"{n >> 32:05d}{n & 0xFFFF:04d}", "url": f"u{n}", "area": nodes[n][0],
             "captions": [{"uid": nodes[n][1], "caption": "x"}]}
            for n in own
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=NODES), folder / f"{shard:05d}.nodes.parquet")
    inputs = {
        "pairs": (Input.outside(str(folder / "00000.parquet")),),
        "nodes": tuple(Input.outside(str(folder / f"{shard:05d}.nodes.parquet")) for shard in (0, 3)),
    }
    counts = process(GroupsConfig(), Source(index=0, inputs=inputs), Target(0, folder))
    rows = pq.read_table(folder / "within.parquet").to_pylist()
    assert counts["in"] == len(rows) == counts["kept"] + counts["dropped.within"]
    return rows  # type: ignore[no-any-return]


def test_the_largest_is_kept_then_the_smallest_uid(tmp_path: Path) -> None:
    a, b, c, d, e = node_id(0, 1), node_id(0, 2), node_id(3, 0), node_id(3, 1), node_id(3, 7)
    nodes = {a: (100, "b"), b: (400, "z"), c: (100, "a"), d: (100, "c"), e: (100, "a")}
    rows = group(tmp_path, [(a, b, 2, 0.9), (b, c, 0, 1.0), (d, e, 2, 0.95)], nodes)
    assert [(row["key"], row["group"], row["kept"]) for row in rows if row["kept"]] == [
        ("000000002", "000000002", True), ("000030007", "000030007", True),
    ]  # fmt: skip
    by_key = {row["key"]: row for row in rows}
    assert (by_key["000000001"]["group"], by_key["000030000"]["group"]) == ("000000002", "000000002")
    assert (by_key["000030000"]["shard"], by_key["000030000"]["kept_shard"]) == (3, 0)


def test_a_copy_has_the_surest_of_its_reasons(tmp_path: Path) -> None:
    a, b, c = node_id(0, 0), node_id(0, 1), node_id(0, 2)
    rows = group(tmp_path, [(a, b, 2, 0.91), (a, c, 2, 0.95), (b, c, 1, 1.0)], {n: (1, str(n)) for n in (a, b, c)})
    told = {row["key"]: (row["reason"], round(float(str(row["score"])), 2)) for row in rows}
    assert told == {"000000000": ("phash", 0.95), "000000001": ("pixels", 1.0), "000000002": ("pixels", 1.0)}


def plant(folder: Path, copies: list[tuple[bool, list[str]]]) -> None:
    path = folder / "within" / "groups" / "within.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"kept": kept, "uid": uids[0], "uids": uids, "score": 0.5} for kept, uids in copies]
    pq.write_table(pa.Table.from_pylist(rows, schema=WITHIN), path)


def excluded(folder: Path) -> list[tuple[str, str, str]]:
    rows = pq.read_table(folder / "exclusions.parquet").to_pylist()
    return [(row["uid"], row["eval_set"], row["reason"]) for row in rows]


def test_copies_join_what_overlaps_and_leave_when_they_are_copies_no_more(tmp_path: Path) -> None:
    columns = [["b", "k"], ["birds", "birds"], ["phash", "phash"], [0.9, 0.9], ["a", "k"]]
    overlap = pa.table(columns, schema=EXCLUSIONS)
    pq.write_table(overlap, tmp_path / "exclusions.parquet")
    exclude_copies(str(tmp_path))
    assert pq.read_table(tmp_path / "exclusions.parquet") == overlap
    plant(tmp_path, [(True, ["k"]), (False, ["a", "b"])])
    exclude_copies(str(tmp_path))
    assert excluded(tmp_path) == [
        ("a", "", "within"), ("b", "", "within"), ("b", "birds", "phash"), ("k", "birds", "phash"),
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "exclusions.parquet")["image"].to_pylist() == ["a", "a", "a", "k"]
    before = (tmp_path / "exclusions.parquet").stat().st_mtime_ns
    exclude_copies(str(tmp_path))
    assert (tmp_path / "exclusions.parquet").stat().st_mtime_ns == before
    plant(tmp_path, [])
    exclude_copies(str(tmp_path))
    assert excluded(tmp_path) == [("b", "birds", "phash"), ("k", "birds", "phash")]


def test_a_uid_that_a_kept_image_has_too_stays(tmp_path: Path) -> None:
    plant(tmp_path, [(True, ["same"]), (False, ["same", "other"])])
    exclude_copies(str(tmp_path))
    assert excluded(tmp_path) == [("other", "", "within")]


def test_nothing_is_made_where_copies_were_never_looked_for(tmp_path: Path) -> None:
    exclude_copies(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
