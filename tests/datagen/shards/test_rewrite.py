from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datagen.shards.rewrite import MESSAGE, ShardFiles, edited_table, rewrite
from helpers.crawled import Fetched, jpeg, scene, write_shards
from openwit.errors import InputError
from openwit.stage import Target

KEYS = [f"00000{place:04d}" for place in range(6)]


def url(place: int) -> str:
    return f"http://host.test/{place}.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shard of five images, of which the third has two captions, and a failure."""
    samples = [
        Fetched(url(place), jpeg(scene(place)), captions=("one", "two") if place == 2 else ("one",))
        for place in range(5)
    ]
    write_shards(tmp_path / "shards", [[*samples, Fetched(url(5), None)]])
    stats = {"count": 6, "successes": 5, "failed_to_download": 1, "status_dict": {"success": 5, "HTTP Error 404": 1}}
    (tmp_path / "shards" / "00000_stats.json").write_text(json.dumps(stats))
    return tmp_path / "shards"


def blocks(path: Path) -> dict[str, bytes]:
    """Each member with its header and padding, as it lies in the tar."""
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        return {m.name: data[m.offset : m.offset_data + -(-m.size // 512) * 512] for m in tar}


def edited(folder: Path, edits: dict[str, list[dict[str, object]]]) -> Path:
    made = folder.parent / "made"
    made.mkdir()
    shard = ShardFiles(str(folder / "00000.tar"), pq.read_table(folder / "00000.parquet"), edits)
    rewrite(shard, Target(0, made))
    return made


def captions_of(folder: Path, key: str) -> list[dict[str, object]]:
    rows = {row["key"]: row for row in pq.read_table(folder / "00000.parquet").to_pylist()}
    found: list[dict[str, object]] = rows[key]["captions"]
    return found


def test_every_byte_of_every_other_sample_is_as_before(folder: Path) -> None:
    made = edited(folder, {KEYS[1]: [], KEYS[2]: captions_of(folder, KEYS[2])[1:]})
    before, after = blocks(folder / "00000.tar"), blocks(made / "00000.tar")
    touched = {name for name in before if name.startswith((KEYS[1], KEYS[2])) and name != f"{KEYS[2]}.jpg"}
    assert len(touched) == 5
    assert {n: b for n, b in after.items() if n not in touched} == {n: b for n, b in before.items() if n not in touched}
    assert list(after) == [name for name in before if not name.startswith(KEYS[1])]
    rows, kept = pq.read_table(folder / "00000.parquet"), pq.read_table(made / "00000.parquet")
    assert kept.schema == rows.schema
    for place in (0, 3, 4, 5):
        assert kept.slice(place, 1).to_pylist() == rows.slice(place, 1).to_pylist()


def test_a_tar_of_which_nothing_is_edited_is_copied_byte_for_byte(folder: Path) -> None:
    assert (edited(folder, {}) / "00000.tar").read_bytes() == (folder / "00000.tar").read_bytes()


def test_a_sample_that_keeps_a_caption_has_it_in_all_its_files(folder: Path) -> None:
    kept = captions_of(folder, KEYS[2])[1:]
    made = edited(folder, {KEYS[2]: kept})
    with tarfile.open(made / "00000.tar") as tar:
        text = tar.extractfile(f"{KEYS[2]}.txt").read()  # type: ignore[union-attr]
        notes = json.loads(tar.extractfile(f"{KEYS[2]}.json").read())  # type: ignore[union-attr]
    row = pq.read_table(made / "00000.parquet").to_pylist()[2]
    assert text == b"two"
    for entry in (notes, row):
        assert (entry["caption"], entry["uid"], entry["captions"]) == ("two", kept[0]["uid"], kept)
        assert (entry["status"], entry["url"], entry["width"]) == ("success", url(2), 96)


def test_what_went_leaves_a_row_that_says_nothing_but_that(folder: Path) -> None:
    row = edited_table(pq.read_table(folder / "00000.parquet"), {KEYS[1]: []}).to_pylist()[1]
    told = {name: value for name, value in row.items() if value and name != "captions"}
    assert told == {"key": KEYS[1], "url": "removed:", "status": "failed_to_download", "error_message": MESSAGE}
    assert [entry["caption"] for entry in row["captions"]] == [""]


def test_the_statistics_count_it_as_a_failure(folder: Path) -> None:
    made = edited(folder, {KEYS[1]: [], KEYS[2]: captions_of(folder, KEYS[2])[:1]})
    stats = json.loads((made / "notes" / "00000_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_download"]) == (6, 4, 2)
    assert stats["status_dict"] == {"success": 4, "HTTP Error 404": 1, MESSAGE: 1}


def test_a_shard_of_which_everything_goes_is_an_empty_tar(folder: Path) -> None:
    made = edited(folder, {key: [] for key in KEYS[:5]})
    with tarfile.open(made / "00000.tar") as tar:
        assert tar.getnames() == []
    assert set(pq.read_table(made / "00000.parquet")["status"].to_pylist()) == {"failed_to_download"}


def test_a_damaged_tar_and_one_that_lacks_the_sample_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"00000\.tar: lacks the sample 000000005 of its table"):
        edited(folder, {KEYS[5]: []})
    (folder / "00000.tar").write_bytes(b"no tar" * 200)
    (folder.parent / "made").rename(folder.parent / "before")
    with pytest.raises(InputError, match=r"00000\.tar: is damaged"):
        edited(folder, {KEYS[1]: []})
