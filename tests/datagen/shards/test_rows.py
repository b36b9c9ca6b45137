from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from datagen.shards import rows as shard_rows
from datagen.shards.rows import ShardImages, caption_rows, table_rows
from openwit.errors import InputError
from openwit.shards.notes import pair_uid
from openwit.shards.tar import PlainTar


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    stream = io.BytesIO()
    tar = PlainTar(stream)
    for name, content in members.items():
        tar.add(name, content)
    tar.close()
    path.write_bytes(stream.getvalue())
    return str(path)


def found(tar: str, keys: list[object], counts: Counter[str], status: str = "success") -> list[tuple[int, str]]:
    rows = [{"key": key, "status": status} for key in keys]
    return [(row, image.key) for batch in ShardImages(tar, rows, counts).batches() for row, image in batch]


def test_each_image_has_the_row_of_its_key_or_of_its_name_where_the_tar_has_folders(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "0.tar", {"b/1.jpg": b"B", "2.jpg": b"C", "a/0.jpg": b"A"})
    counts = Counter[str]()
    assert found(tar, ["0", "1", "2"], counts) == [(1, "b/1"), (2, "2"), (0, "a/0")]
    assert counts == {"in": 3}


def test_samples_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "0.tar", {"0.jpg": b"", "1.jpg": b"B", "2.json": b"{}", "README.txt": b"hello"})
    counts = Counter[str]()
    assert found(tar, ["0", "1", "2"], counts) == [(1, "1")]
    assert counts == {"in": 3, "dropped.empty": 1, "dropped.no_image": 1}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["0", "1", "2"], r"holds 2 images, its table 3 \(2 is in the table only\)"),
        (["0"], r"holds 2 images, its table 1 \(1 is in the tar only\)"),
        (["0", "7"], r"holds 2 images, its table 2 \(1 is in the tar only\)"),
    ],
)
def test_a_tar_and_a_table_of_other_images_are_named(tmp_path: Path, keys: Any, said: str) -> None:
    tar = write_tar(tmp_path / "0.tar", {"0.jpg": b"A", "1.jpg": b"B"})
    with pytest.raises(InputError, match=rf"0\.tar: {said}; put a whole shard in its place"):
        found(tar, keys, Counter())


def test_batches_are_bounded_by_images_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = write_tar(tmp_path / "0.tar", {f"{n}.jpg": b"x" * (900 if n == 2 else 100) for n in range(6)})
    images = ShardImages(tar, [{"key": f"{n}", "status": "success"} for n in range(6)], Counter())
    assert [len(batch) for batch in images.batches()] == [6]
    monkeypatch.setattr(shard_rows, "BATCH_BYTES", 1000)
    assert [len(batch) for batch in ShardImages(tar, images.rows, Counter()).batches()] == [3, 3]
    monkeypatch.setattr(shard_rows, "BATCH_IMAGES", 2)
    assert [len(batch) for batch in ShardImages(tar, images.rows, Counter()).batches()] == [2, 2, 2]


def test_rows_have_captions_with_uids_whatever_the_table_holds() -> None:
    table = pa.table(
        {
            "key": ["0", "1"],
            "status": ["success", "failed_to_download"],
            "url": ["http://a.test/0", None],
            "uid": [0, 1],
            "caption": ["one", None],
            "captions": [["one", "two"], None],
        }
    )
    first, second = caption_rows("s/00000.parquet", table)
    assert first["captions"] == [{"uid": pair_uid("http://a.test/0", text), "caption": text} for text in ("one", "two")]
    assert (second["url"], [entry["caption"] for entry in second["captions"]]) == ("", [""])


def test_of_two_columns_of_one_name_the_first_counts_and_a_missing_one_is_named() -> None:
    table = pa.Table.from_arrays([pa.array(["0"]), pa.array(["success"]), pa.array(["x"])], ["key", "status", "key"])
    assert table_rows("x.parquet", table, ("key", "status")) == [{"key": "0", "status": "success"}]
    with pytest.raises(InputError, match=r"x\.parquet: lacks the column status; it has key"):
        table_rows("x.parquet", table.select([0]), ("key",))
