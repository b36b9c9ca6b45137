from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.config import StatisticsConfig
from datagen.schemas import THRESHOLDS
from datagen.statistics.collect import Statistics, collect, to_json
from datagen.statistics.queries import QueryShare
from helpers.crawled import Fetched, jpeg, part, scene, write_manifest, write_shards
from openwit.errors import ConfigError, InputError
from wit_queries.terms.query_list import QUERY_COLUMNS


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two shards with three images and one failure, and what came before them."""
    wide = Fetched("http://a.test/1.jpg", jpeg(scene(1)), ("two words", "three short words"), size=(120, 80))
    tall = Fetched("http://b.test/2.jpg", jpeg(scene(2)), ("word",), size=(80, 120))
    small = Fetched("http://a.test/3.jpg", jpeg(scene(3)), ("<b>&",), size=(80, 80))
    write_shards(tmp_path / "shards", [[wide, Fetched("http://a.test/gone.jpg", None)], [tall, small]])
    add_queries(tmp_path)
    matched = {"in": 100, "kept": 9, "dropped.no_match": 91}
    write_manifest(tmp_path / "matched", "match", [part(tmp_path, 0, [], matched)])
    selected = {"in": 9, "kept": 5, "dropped.duplicate": 3, "dropped.capped": 1}
    write_manifest(tmp_path / "selected", "select", [part(tmp_path, 0, [], selected)])
    return tmp_path


def add_queries(work: Path) -> None:
    rows = [
        {"query_id": 0, "query": "cat", "source": "word"},
        {"query_id": 1, "query": "dog", "source": "word"},
        {"query_id": 2, "query": "new york", "source": "bigram"},
        {"query_id": 3, "query": "never met", "source": "title"},
    ]
    blank = {"count": 0, "pmi": 0.0, "views": 0}
    (work / "queries").mkdir()
    pq.write_table(
        pa.Table.from_pylist([{**row, **blank} for row in rows], schema=QUERY_COLUMNS),
        work / "queries" / "queries.parquet",
    )
    write_manifest(work / "queries", "queries", [])
    numbers = [(0, 3), (1, 10), (2, 3)]
    decided = [
        {"query_id": query, "matches": number, "selected": min(number, 4), "threshold": 0} for query, number in numbers
    ]
    (work / "cap").mkdir()
    pq.write_table(pa.Table.from_pylist(decided, schema=THRESHOLDS), work / "cap" / "queries.parquet")
    write_manifest(work / "cap", "cap-thresholds", [])


def test_images_captions_hosts_and_failures_by_hand(work: Path) -> None:
    statistics = collect(str(work))
    assert (statistics.recipe, statistics.shards, statistics.images, statistics.pairs) == ("tiny", 2, 3, 4)
    assert statistics.failures == {"http_404": 1}
    assert statistics.hosts == {"a.test": 2, "b.test": 1}
    assert (statistics.width_px.median, statistics.width_px.high, statistics.width_px.number) == (80, 120, 3)
    assert statistics.height_px.mean == pytest.approx(280 / 3, abs=0.01)
    assert statistics.caption_chars.mean == pytest.approx((9 + 17 + 4 + 4) / 4)
    assert statistics.caption_words.mean == pytest.approx((2 + 3 + 1 + 1) / 4)
    assert (statistics.captions_per_image.number, statistics.captions_per_image.high) == (3, 2)
    assert statistics.tar_bytes == sum(path.stat().st_size for path in (work / "shards").glob("*.tar"))


def test_the_funnel_has_every_step_with_its_reasons(work: Path) -> None:
    steps = {step.name: step for step in collect(str(work)).funnel}
    assert (steps["match"].entered, steps["match"].kept) == (100, 9)
    assert steps["select"].dropped == {"duplicate": 3, "capped": 1}
    assert (steps["crawl"].kept, steps["crawl"].dropped) == (3, {"http_404": 1})
    first, second = collect(str(work), config=StatisticsConfig(rows=2)).most_dropped
    assert (first.step, first.reason, first.number, first.share) == ("match", "no_match", 91, 0.91)
    assert (second.step, second.reason, second.number) == ("select", "duplicate", 3)


def test_the_queries_head_and_tail_before_and_after_the_cap(work: Path) -> None:
    queries = collect(str(work), config=StatisticsConfig(rows=2)).queries
    assert queries is not None
    assert queries.all == QueryShare(queries=4, matching=3, capped=1, matches=16, selected=10)
    assert [(row.query, row.matches, row.selected) for row in queries.head] == [("dog", 10, 4), ("cat", 3, 3)]
    assert [row.query for row in queries.tail] == ["new york"]
    assert list(queries.sources) == ["word", "bigram", "title"]
    assert queries.sources["word"] == QueryShare(queries=2, matching=2, capped=1, matches=13, selected=7)
    assert (queries.sources["title"].queries, queries.sources["title"].matching) == (1, 0)
    assert list(queries.levels) == ["from 10", "from 1", "none"]
    assert queries.levels["from 1"] == QueryShare(queries=2, matching=2, capped=0, matches=6, selected=6)
    assert queries.curve == [(1, 10, 4), (2, 3, 3), (3, 3, 3)]


def test_the_statistics_of_a_work_folder_begin_with_the_cap(work: Path) -> None:
    shutil.rmtree(work / "shards")
    shutil.rmtree(work / "selected")
    statistics = collect(str(work))
    assert (statistics.recipe, statistics.shards, statistics.images, statistics.selected) == ("tiny", 0, 0, 0)
    assert statistics.queries is not None
    assert statistics.samples == []
    selected = {"in": 9, "kept": 5, "dropped.duplicate": 3, "dropped.capped": 1}
    write_manifest(work / "selected", "select", [part(work, 0, [], selected)])
    assert collect(str(work)).selected == 5


@pytest.mark.parametrize("matches", [[], [0], [7]])
def test_the_queries_of_a_run_without_matches_or_with_one_query_can_be_shown(matches: list[int], work: Path) -> None:
    decided = [{"query_id": id, "matches": n, "selected": n, "threshold": 0} for id, n in enumerate(matches)]
    pq.write_table(pa.Table.from_pylist(decided, schema=THRESHOLDS), work / "cap" / "queries.parquet")
    queries = collect(str(work)).queries
    assert queries is not None
    assert queries.all.matches == sum(matches)
    assert len(queries.head) == len(queries.curve) == len([n for n in matches if n])
    assert queries.levels["none"].queries == 4 - len(queries.head)


def test_samples_come_from_several_shards(work: Path) -> None:
    samples = collect(str(work), config=StatisticsConfig(gallery=2)).samples
    assert [sample.url for sample in samples] == ["http://a.test/1.jpg", "http://b.test/2.jpg"]
    assert samples[0].captions == ["two words", "three short words"]
    assert collect(str(work), config=StatisticsConfig(gallery=0)).samples == []


def test_a_folder_of_img2dataset_alone_gives_what_it_can(work: Path) -> None:
    folder = work / "shards"
    (folder / "manifest.json").unlink()
    for path in folder.glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["captions", "uid", "sha256"]), path)
    statistics = collect(str(folder))
    assert (statistics.images, statistics.pairs, statistics.recipe) == (3, 3, "")
    assert statistics.funnel == []
    assert statistics.queries is None
    assert statistics.failures == {"http_404": 1}
    assert len(statistics.samples) == 3


def test_json_holds_the_numbers_without_images(work: Path) -> None:
    content = json.loads(to_json(collect(str(work), attribution="by somebody")))
    assert content["images"] == 3
    assert content["queries"]["head"][0]["query"] == "dog"
    assert content["attribution"] == "by somebody"
    assert set(content["samples"][0]) == {"key", "url", "captions"}


def test_equal_folders_give_equal_statistics(work: Path) -> None:
    assert isinstance(collect(str(work)), Statistics)
    assert collect(str(work)) == collect(str(work))


def test_what_is_no_data_set_is_named(work: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a finished cap/ nor shards"):
        collect(str(tmp_path / "nowhere"))
    (work / "shards" / "00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match=r"00001\.parquet: cannot be read as parquet"):
        collect(str(work))
    pq.write_table(pa.table({"url": ["x"]}), work / "shards" / "00001.parquet")
    with pytest.raises(InputError, match="no column status"):
        collect(str(work))


def test_the_config_refuses_what_cannot_be_shown() -> None:
    with pytest.raises(ConfigError, match="gallery=-1"):
        StatisticsConfig(gallery=-1)
    with pytest.raises(ConfigError, match="rows=0"):
        StatisticsConfig(rows=0)
