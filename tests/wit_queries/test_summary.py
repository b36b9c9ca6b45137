from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openwit.errors import InputError
from wit_queries.summary import summarize
from wit_queries.terms.query_list import Measures, merge

TERMS = {
    "word": [f"word{n}" for n in range(40)],
    "bigram": ["grand slam"],
    "title": [],
    "synset": ["word3", "physical entity", "grand slam", "a b c", "word5"],
}
THRESHOLDS = {
    "min_count": 60, "min_bigram_count": 5, "num_bigrams": 1, "min_total_views": 70, "block_list": "",
}  # fmt: skip


def write_list(folder: Path, reached_min_pmi: float | None, **changes: Any) -> str:
    count = {query: 100 - n for n, query in enumerate(TERMS["word"])} | {"grand slam": 7, "physical entity": 0}
    table, _ = merge(TERMS, Measures(count, {"grand slam": 9.5}, {}), 100)
    pq.write_table(table, folder / "queries.parquet")
    record = {
        "words_counted": 12_345,
        "different_words": 2_345,
        "thresholds": THRESHOLDS | {"reached_min_pmi": reached_min_pmi},
        "terms_found": {"bigram": 1},
        "queries_by_all_sources": {"word": 38, "word+synset": 2, "bigram+synset": 1, "synset": 2},
        "dropped": {"other_source": 3},
        "blocked_in_vain": [],
    }
    (folder / "queries.json").write_text(json.dumps(record | changes))
    return str(folder)


def test_it_shows_each_source_with_its_threshold_and_examples_of_all_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = summarize(write_list(tmp_path, 9.5)).splitlines()
    assert lines[0] == "43 queries from 12,345 words of text, 2,345 of them different"
    examples = "word0 · word6 · word12 · word18 · word24 · word30"
    assert lines[1].split() == "source terms threshold also".split()
    assert lines[2].split() == "words 40 count >= 60 2 synsets".split()
    assert lines[3].split() == "bigrams 1 PMI >= 9.50 1 synsets".split()
    assert lines[4].split()[:2] == ["titles", "0"]
    assert lines[7].split() == f"words {examples}".split()
    assert lines[8].split() == "bigrams grand slam".split()
    assert "physical entity · a b c" in lines[10]
    assert max(map(len, lines)) <= 80


def test_it_shows_both_ends_of_the_counts_and_what_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = summarize(write_list(tmp_path, None))
    head, _, tail, rest = text.splitlines()[-5:-1]
    assert head.startswith("  head of the counts  word0 100 · word1 99 · ")
    assert tail.startswith("  tail of the counts  word35 65 · ")
    assert rest.endswith("grand slam 7")
    assert "2 terms do not occur in the text or have more than two words" in text
    assert "PMI" not in text


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"queries.json: no such file"):
        summarize(str(tmp_path))


def test_it_tells_what_was_blocked_and_which_lines_matched_nothing(tmp_path: Path) -> None:
    thresholds = {
        "min_count": 60,
        "num_bigrams": None,
        "min_total_views": 70,
        "reached_min_pmi": None,
        "block_list": "block.txt",
    }
    changes = {"thresholds": thresholds, "dropped": {"blocked": 4}, "blocked_in_vain": ["St. Nowhere", "zz"]}
    last = summarize(write_list(tmp_path, None, **changes)).splitlines()[-1]
    assert last == "  4 terms are in the block list; 2 lines match no term: St. Nowhere, zz"


def test_it_tells_what_the_cap_cost(tmp_path: Path) -> None:
    thresholds = {
        "min_count": 60,
        "num_bigrams": None,
        "min_total_views": 70,
        "reached_min_pmi": None,
        "block_list": "",
        "max_queries": 100,
    }
    text = summarize(write_list(tmp_path, None, thresholds=thresholds, dropped={"max_queries": 1234}))
    assert "1,234 terms came too late for max_queries=100" in text


def test_it_says_where_the_corpus_has_fewer_bigrams_than_were_asked_for(tmp_path: Path) -> None:
    text = summarize(write_list(tmp_path, 9.5))
    assert "num_bigrams" not in text
    thresholds = json.loads((tmp_path / "queries.json").read_text())["thresholds"] | {"num_bigrams": 100_000}
    text = summarize(write_list(tmp_path, 9.5, thresholds=thresholds))
    assert "  1 bigrams, not terms.num_bigrams=100,000: this corpus has no more pairs of kept words" in text
    assert "num_bigrams" not in summarize(write_list(tmp_path, 9.5, thresholds=thresholds | {"num_bigrams": None}))
