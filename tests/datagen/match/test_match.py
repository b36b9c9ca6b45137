from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.config import CandidatesConfig, MatchConfig, SourcesConfig
from datagen.match import match as candidates
from datagen.schemas import CANDIDATES, MATCHED
from datagen.sources import wat as sources_wat
from helpers.pairs import run_step
from helpers.wat import image, page, wat_file
from openwit.errors import ConfigError
from openwit.shards.notes import pair_uid
from openwit.stage import Counts, Input, check_counts
from wit_queries.config import MatcherConfig
from wit_queries.matching import stage

LINKS = [
    image("1.jpg", "A black cat on St. Louis' bridge"),
    image("http://s.test/2.jpg", "Nothing known"),
    image("http://s.test/3.jpg"),
    image("http://s.test/4.jpg", "IMG_1234"),
    image("http://s.test/5.jpg", "cat.jpg"),
    image("http://s.test/6.jpg", "Logo image"),
    image("data:image/png;base64,AA", "cat"),
    image("http://s.test/7.jpg", "cat " * 300),
    image("/8.jpg#x", " Cat &\n dog ", "a title"),
    image("http://[/9.jpg", "cat"),
    image("ftp://s.test/10.jpg", "cat"),
    image("http://s.test/1x1.gif", "cat"),
    image("/11.jpg", "", "cat as a title"),
]


def match(folder: Path, name: str, config: MatchConfig) -> tuple[Counts, pq.ParquetFile]:
    """The file of that name matched with three queries."""
    pq.write_table(pa.table({"query": ["cat", "st louis", "dog"]}), folder / "queries.parquet")
    queries = (Input.outside(str(folder / "queries.parquet")),)
    run_step(stage.process, MatcherConfig(), {"queries": queries}, folder / "table")
    table = (Input.outside(str(folder / "table" / stage.NAME)),)
    inputs = {"pairs": (Input.outside(str(folder / name)),), "matcher": table}
    counts = run_step(candidates.match_file, config, inputs, folder / "matched")
    check_counts(counts)
    return counts, pq.ParquetFile(folder / "matched" / "00000.parquet")


def wat(folder: Path) -> str:
    (folder / "a.warc.wat.gz").write_bytes(wat_file(page("http://s.test/p/", LINKS), page("http://s.test/404", None)))
    return "a.warc.wat.gz"


def reasons(counts: Counts) -> dict[str, int]:
    return {name.removeprefix("dropped."): n for name, n in counts.items() if name.startswith("dropped.") and n}


def test_every_candidate_ends_in_one_counted_state(tmp_path: Path) -> None:
    counts, _ = match(tmp_path, wat(tmp_path), MatchConfig())
    assert reasons(counts) == {
        "no_match": 1, "no_alt": 1, "boilerplate": 3, "data_uri": 1, "caption_too_long": 1,
        "bad_url": 1, "not_http": 1, "tracking_pixel": 1,
    }  # fmt: skip
    assert (counts["in"], counts["kept"], counts["matches"], counts["records"]) == (13, 3, 5, 7)


def test_matched_rows_carry_uid_origin_and_queries_in_the_files_order(tmp_path: Path) -> None:
    _, file = match(tmp_path, wat(tmp_path), MatchConfig())
    assert file.schema_arrow.equals(MATCHED)
    rows = file.read().to_pylist()
    assert [(row["url"], row["caption"], row["caption_from"], row["query_ids"]) for row in rows] == [
        ("http://s.test/p/1.jpg", "A black cat on St. Louis' bridge", "alt", [0, 1]),
        ("http://s.test/8.jpg", "Cat & dog", "alt", [0, 2]),
        ("http://s.test/11.jpg", "cat as a title", "title", [0]),
    ]
    assert [row["uid"] for row in rows] == [pair_uid(row["url"], row["caption"]) for row in rows]
    assert {row["page_url"] for row in rows} == {"http://s.test/p/"}
    name, _, offset = rows[0]["source"].partition("#")
    assert (name, {row["source"] for row in rows}) == ("a.warc.wat.gz", {f"{name}#{offset}"})
    assert (tmp_path / name).read_bytes()[int(offset) :].startswith(b"\x1f\x8b")


def test_rules_can_be_turned_off(tmp_path: Path) -> None:
    rules = CandidatesConfig(drop_boilerplate=False, drop_trackers=False, title_without_alt=False)
    counts, _ = match(tmp_path, wat(tmp_path), MatchConfig(candidates=rules))
    assert not {"boilerplate", "tracking_pixel"} & set(reasons(counts))
    assert reasons(counts)["no_alt"] == 2
    assert counts["kept"] == 4  # cat.jpg names a cat after all


def test_all_pairs_worth_matching_are_listed_where_that_is_asked_for(tmp_path: Path) -> None:
    inputs = {"pairs": (Input.outside(str(tmp_path / wat(tmp_path))),)}
    counts = run_step(candidates.list_file, MatchConfig(), inputs, tmp_path / "candidates")
    check_counts(counts)
    file = pq.ParquetFile(tmp_path / "candidates" / "00000.parquet")
    assert file.schema_arrow.equals(CANDIDATES)
    assert "Nothing known" in file.read()["caption"].to_pylist()
    assert counts["kept"] == file.metadata.num_rows == 4


def test_pairs_of_a_table_are_matched_alike(tmp_path: Path) -> None:
    (tmp_path / "cc.tsv").write_text("a cat\thttp://s.test/1.jpg\nbroken\na dog\t/2.jpg\nno one\thttp://s.test/3.jpg\n")
    counts, file = match(tmp_path, "cc.tsv", MatchConfig())
    rows = file.read().to_pylist()
    assert [(row["url"], row["source"], row["page_url"]) for row in rows] == [("http://s.test/1.jpg", "cc.tsv#1", "")]
    assert reasons(counts) == {"not_http": 1, "no_match": 1}
    assert counts["records_damaged"] == 1


def test_columns_and_kind_of_a_table_come_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("7,http://s.test/1.jpg,a cat\n")
    config = MatchConfig(kind="csv", url_column="2", caption_column="3")
    assert match(tmp_path, "list.txt", config)[1].read()["url"].to_pylist() == ["http://s.test/1.jpg"]


def test_many_rows_are_written_in_groups_and_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "GROUP_ROWS", 10)
    pages = [page(f"http://s.test/{n}", [image(f"{m}" * 200, f"cat {n}") for m in range(7)]) for n in range(9)]
    monkeypatch.setattr(sources_wat, "BATCH_BYTES", 2000)
    (tmp_path / "a.wat.gz").write_bytes(wat_file(*pages))
    counts, file = match(tmp_path, "a.wat.gz", MatchConfig())
    assert file.num_row_groups > 2
    assert file.read()["caption"].to_pylist() == [f"cat {n}" for n in range(9) for _ in range(7)]
    assert counts["kept"] == 63


def test_a_file_without_any_match_gives_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "a.wat.gz").write_bytes(wat_file(page("http://s.test/", [image("a", "none")])))
    _, file = match(tmp_path, "a.wat.gz", MatchConfig())
    assert (file.metadata.num_rows, file.schema_arrow) == (0, MATCHED)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CandidatesConfig(min_caption_words=0), "min_caption_words=0, max_caption_words=200: need 1 <= min"),
        (lambda: CandidatesConfig(max_caption_chars=3, min_caption_chars=4), "chars=4, max_caption_chars=3"),
        (lambda: SourcesConfig(url_column="u"), "name both columns or neither"),
        (lambda: SourcesConfig(max_files=0), "max_files=0: must be at least 1"),
    ],
)  # fmt: skip
def test_configs_that_cannot_be_right_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
