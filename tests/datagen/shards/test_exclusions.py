from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.within.groups import WITHIN
from datagen.shards.exclusions import EXCLUSIONS, exclude_copies, forget_removed


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


def test_what_was_removed_from_the_shards_is_in_no_row(tmp_path: Path) -> None:
    folder, removed = tmp_path / "duplicates", tmp_path / "removed" / "0000"
    folder.mkdir()
    plant(folder, [(True, ["k"]), (False, ["a", "b"]), (False, ["c"])])
    exclude_copies(str(folder))
    assert [row[0] for row in excluded(folder)] == ["a", "b", "c"]
    removed.mkdir(parents=True)
    (removed / "request.parquet").touch()
    pq.write_table(pa.table({"uid": ["a", "b", "x"]}), removed / "removed.parquet")
    forget_removed(str(folder))
    assert [row[0] for row in excluded(folder)] == ["c"]
    exclude_copies(str(folder))
    assert [row[0] for row in excluded(folder)] == ["c"]


def test_nothing_is_made_where_copies_were_never_looked_for(tmp_path: Path) -> None:
    exclude_copies(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
