from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.shards.exclusions import EXCLUSIONS, forget_removed, replace_reason


def rows(reason: str, *uids: str) -> pa.Table:
    number = len(uids)
    return pa.table([list(uids), [""] * number, [reason] * number, [0.5] * number, list(uids)], schema=EXCLUSIONS)


def excluded(folder: Path) -> list[tuple[str, str]]:
    return [(row["uid"], row["reason"]) for row in pq.read_table(folder / "exclusions.parquet").to_pylist()]


def test_a_reason_has_the_rows_given_last_and_others_keep_theirs(tmp_path: Path) -> None:
    replace_reason(str(tmp_path), "phash", rows("phash", "c", "a"))
    replace_reason(str(tmp_path), "within", rows("within", "b", "d"))
    assert excluded(tmp_path) == [("a", "phash"), ("b", "within"), ("c", "phash"), ("d", "within")]
    replace_reason(str(tmp_path), "within", rows("within", "e"))
    assert excluded(tmp_path) == [("a", "phash"), ("c", "phash"), ("e", "within")]


def test_what_was_removed_from_the_shards_is_in_no_row(tmp_path: Path) -> None:
    folder, removed = tmp_path / "duplicates", tmp_path / "removed" / "0000"
    folder.mkdir()
    replace_reason(str(folder), "within", rows("within", "a", "b", "c"))
    assert [uid for uid, _ in excluded(folder)] == ["a", "b", "c"]
    removed.mkdir(parents=True)
    (removed / "request.parquet").touch()
    pq.write_table(pa.table({"uid": ["a", "b", "x"]}), removed / "removed.parquet")
    forget_removed(str(folder))
    assert [uid for uid, _ in excluded(folder)] == ["c"]
    replace_reason(str(folder), "within", rows("within", "a", "c"))
    assert [uid for uid, _ in excluded(folder)] == ["c"]
