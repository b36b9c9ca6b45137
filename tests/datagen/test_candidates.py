from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen import candidates
from datagen.config import CandidatesConfig
from datagen.schemas import MATCHED, pair_uid, url_hash
from helpers.pairs import image_link, run_step, wat_record
from openwit.stage import Input
from wit_queries.normalize import words

LINKS = [
    image_link("http://s.test/1.jpg", "A black cat on St. Louis' bridge"),
    image_link("http://s.test/2.jpg", "Nothing known"),
    image_link("http://s.test/3.jpg"),
    image_link("http://s.test/4.jpg", "IMG_1234"),
    image_link("http://s.test/5.jpg", "cat.jpg"),
    image_link("http://s.test/6.jpg", "Logo image"),
    image_link("data:image/png;base64,AA", "cat"),
    image_link("http://s.test/7.jpg", "cat " * 300),
    image_link("http://s.test/8.jpg", "Cat"),
]


def match(folder: Path, config: CandidatesConfig) -> tuple[dict[str, int], pq.ParquetFile]:
    pq.write_table(pa.table({"query": ["cat", "st louis", "dog"]}), folder / "queries.parquet")
    (folder / "a.wat.gz").write_bytes(wat_record("http://s.test/", LINKS))
    roles = {"wat": "a.wat.gz", "queries": "queries.parquet"}
    inputs = {role: (Input.outside(str(folder / name)),) for role, name in roles.items()}
    counts = run_step(candidates.process, config, inputs, folder / "matched")
    return counts, pq.ParquetFile(folder / "matched" / "00000.parquet")


def test_every_candidate_ends_in_one_counted_state(tmp_path: Path) -> None:
    counts, _ = match(tmp_path, CandidatesConfig())
    reasons = {name.removeprefix("dropped."): n for name, n in counts.items() if name.startswith("dropped.") and n}
    assert reasons == {"no_match": 1, "no_alt": 1, "boilerplate": 3, "data_uri": 1, "caption_too_long": 1}
    assert (counts["in"], counts["kept"], counts["matches"]) == (9, 2, 3)


def test_matched_rows_carry_uid_origin_and_queries(tmp_path: Path) -> None:
    _, file = match(tmp_path, CandidatesConfig(num_partitions=1))
    assert file.schema_arrow.equals(MATCHED)
    rows = {row["url"]: row for row in file.read().to_pylist()}
    first = rows["http://s.test/1.jpg"]
    assert first["uid"] == pair_uid(first["url"], first["caption"])
    assert first["query_ids"] == [0, 1]
    assert first["page_url"] == "http://s.test/"
    assert first["source"].startswith("a.wat.gz#")


def test_row_groups_are_the_partitions_of_image_urls_sorted_by_uid(tmp_path: Path) -> None:
    _, file = match(tmp_path, CandidatesConfig(num_partitions=5))
    assert file.num_row_groups == 5
    for index in range(5):
        rows = file.read_row_group(index).to_pylist()
        assert all(url_hash(row["url"]) % 5 == index for row in rows)
        assert [row["uid"] for row in rows] == sorted(row["uid"] for row in rows)


def test_the_boilerplate_rule_can_be_turned_off(tmp_path: Path) -> None:
    counts, _ = match(tmp_path, CandidatesConfig(drop_boilerplate=False))
    assert counts["dropped.boilerplate"] == 0
    assert counts["kept"] == 3  # cat.jpg names a cat after all


@pytest.mark.parametrize(
    "caption", ["DSC00042", "image", "photo_12.JPG", "my-holiday%20picture.webp", "Image logo ICON"]
)
def test_file_names_and_empty_words_are_boilerplate(caption: str) -> None:
    assert candidates.is_boilerplate(caption, words(caption))


@pytest.mark.parametrize("caption", ["a logo of a cat", "cat", "Photo of the bridge", "version 2.jpg of a plan"])
def test_captions_that_say_something_are_not(caption: str) -> None:
    assert not candidates.is_boilerplate(caption, words(caption))
