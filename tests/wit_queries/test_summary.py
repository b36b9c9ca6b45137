from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from openwit.errors import InputError
from wit_queries.merge import Measures, merge
from wit_queries.summary import summarize

TERMS = {
    "word": [f"word{n}" for n in range(40)],
    "bigram": ["grand slam"],
    "title": [],
    "synset": ["physical entity", "a b c"],
}


def write_list(folder: Path, reached_min_pmi: float | None) -> str:
    count = {query: 100 - n for n, query in enumerate(TERMS["word"])} | {"grand slam": 7, "physical entity": 0}
    table, _ = merge(TERMS, Measures(count, {"grand slam": 9.5}, {}), 100)
    pq.write_table(table, folder / "queries.parquet")
    thresholds = {"min_count": 60, "min_total_views": 70, "reached_min_pmi": reached_min_pmi}
    (folder / "queries.json").write_text(json.dumps({"words_counted": 12_345, "thresholds": thresholds}))
    return str(folder)


def test_it_shows_each_source_with_its_threshold_and_examples_of_all_its_range(tmp_path: Path) -> None:
    lines = summarize(write_list(tmp_path, 9.5)).splitlines()
    assert lines[0] == "43 queries from 12,345 words of text"
    assert lines[1].split() == "words 40 [count >= 60] word0 · word6 · word12 · word18 · word24 · word30".split()
    assert lines[2].split() == "bigrams 1 [PMI >= 9.50] grand slam".split()
    assert lines[3].split()[:2] == ["titles", "0"]
    assert "physical entity · a b c" in lines[4]


def test_it_shows_both_ends_of_the_counts_and_what_has_none(tmp_path: Path) -> None:
    text = summarize(write_list(tmp_path, None))
    assert "head of the counts: word0 100 · word1 99 · " in text
    assert text.splitlines()[-2].endswith("grand slam 7")
    assert "2 terms do not occur in the text or have more than two words" in text
    assert "PMI" not in text


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"queries.json: no such file"):
        summarize(str(tmp_path))
