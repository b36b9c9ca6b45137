from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.dumps import page, write_dump
from openwit.stage import Input, Source, Target
from openwit.storage.row_groups import read_bucket, read_runs
from wit_queries.config import PagesConfig
from wit_queries.terms import articles
from wit_queries.terms.articles import PAGES, PAIRS, WORD_BUCKETS, WORDS, count_articles


def pages_of(texts: list[str]) -> list[str]:
    leads = [page("Kitty", "", redirect="Page 1#Kitten"), page("Hidden", "", redirect="Template:X")]
    talk = [page("Talk:Page 1", "never counted", namespace=1), page("Oops").replace("</title>", "")]
    return [*(page(f"Page {n}", text) for n, text in enumerate(texts)), *leads, *talk]


def count(folder: Path, dump: Path, span: tuple[int, int] | None = None, memory_mb: int = 8) -> Counter[str]:
    folder.mkdir()
    whole = Input.outside(str(dump))
    source = Source(index=0, inputs={"dump": (whole.cut(*span) if span else whole,)})
    return count_articles(PagesConfig(memory_mb=memory_mb), source, Target(0, folder))


def totals(folder: Path) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    file = str(folder / "00000")
    for run, both in zip(read_runs(file + WORDS, WORD_BUCKETS), read_runs(file + PAIRS, 1), strict=True):
        names = run["word"].to_pylist()
        words.update(dict(zip(names, run["count"].to_pylist(), strict=True)))
        for row in both.to_pylist():
            pairs[names[row["first"]], names[row["second"]]] += row["count"]
    return words, pairs


@pytest.fixture(scope="module")
def texts() -> list[str]:
    chance = random.Random(3)
    drawn = [[f"word{int(chance.paretovariate(0.3)) % 9000}" for _ in range(300)] for _ in range(200)]
    return [" ".join(words[:150]) + ".\n" + " ".join(words[150:]) for words in drawn]


def test_files_hold_the_counts_of_all_articles_and_nothing_else(tmp_path: Path, texts: list[str]) -> None:
    dump = write_dump(tmp_path / "one.xml", pages_of(texts))
    counts = count(tmp_path / "one", dump)
    lines = [line.replace(".", "").split() for text in texts for line in text.split("\n")]
    words = Counter(word for line in lines for word in line)
    pairs = Counter(pair for line in lines for pair in pairwise(line))
    assert totals(tmp_path / "one") == (words, pairs)
    dropped = {"dropped.redirect": 2, "dropped.namespace": 1, "dropped.broken": 1}
    spaces = {"namespace.0": 202, "namespace.1": 1}
    sums = {"words": 60_000, "pairs": len(pairs), "runs": 1}
    assert counts == {"in": 204, "kept": 200, **dropped, **spaces, **sums}
    rows = pq.read_table(tmp_path / "one" / f"00000{PAGES}").to_pylist()
    assert rows[:2] == [{"title": "Page 0", "redirect": None}, {"title": "Page 1", "redirect": None}]
    assert rows[200:] == [{"title": "Kitty", "redirect": "Page 1"}]


def test_less_memory_gives_more_runs_and_the_same_sums(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = write_dump(tmp_path / "one.xml", pages_of(texts))
    assert count(tmp_path / "much", dump)["runs"] == 1
    monkeypatch.setattr(articles, "TITLES_AT_ONCE", 7)
    assert count(tmp_path / "little", dump, memory_mb=1)["runs"] > 1
    assert totals(tmp_path / "little") == totals(tmp_path / "much")
    much, little = (pq.read_table(tmp_path / name / f"00000{PAGES}") for name in ("much", "little"))
    assert much.equals(little)


def test_spans_of_a_dump_add_up_to_the_whole(tmp_path: Path, texts: list[str]) -> None:
    dump = write_dump(tmp_path / "one.xml.bz2", pages_of(texts))
    size = dump.stat().st_size
    whole = count(tmp_path / "whole", dump)
    cuts = [0, size // 3, size // 2, size]
    parts = [count(tmp_path / str(n), dump, span) for n, span in enumerate(pairwise(cuts))]
    for name in ("in", "kept", "dropped.redirect", "dropped.broken", "words"):
        assert sum(part[name] for part in parts) == whole[name]
    words, pairs = totals(tmp_path / "0")
    for n in (1, 2):
        more_words, more_pairs = totals(tmp_path / str(n))
        words.update(more_words)
        pairs.update(more_pairs)
    assert (words, pairs) == totals(tmp_path / "whole")


def test_a_word_is_in_the_same_bucket_of_every_part(tmp_path: Path, texts: list[str]) -> None:
    for name, chosen in (("one", texts[:100]), ("two", texts[100:])):
        count(tmp_path / name, write_dump(tmp_path / f"{name}.xml", pages_of(chosen)))
    seen: dict[str, int] = {}
    for bucket in range(WORD_BUCKETS):
        for name in ("one", "two"):
            for word in read_bucket(str(tmp_path / name / f"00000{WORDS}"), bucket, WORD_BUCKETS)["word"].to_pylist():
                assert seen.setdefault(word, bucket) == bucket
    assert len(set(seen.values())) == WORD_BUCKETS
