from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from wit_queries.bigrams import Bigrams, score, select
from wit_queries.words import TextCounts

LINES = ["grand slam grand slam the grand slam", "the cat the dog the cat", "a cat a dog the end"]


def corpus(lines: list[str]) -> tuple[pa.Table, pa.Table, int]:
    counts = TextCounts()
    counts.add("\n".join(lines))
    return counts.pair_table(), counts.word_table(), counts.words.total()


def selected(min_count: int = 1, min_pmi: float | None = None, target: int | None = None) -> Bigrams:
    pairs, counts, num_words = corpus(LINES)
    scored = score(pairs, counts, num_words)
    return select(scored, min_count=min_count, min_pmi=min_pmi, target=target, num_words=num_words)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc ", max_size=30), min_size=1, max_size=5))
def test_pmi_is_the_logarithm_of_how_much_oftener_than_by_chance(lines: list[str]) -> None:
    pairs, counts, num_words = corpus(lines)
    count_of = dict(zip(counts["word"].to_pylist(), counts["count"].to_pylist(), strict=True))
    scored = score(pairs, counts, num_words)
    assert scored.num_rows == pairs.num_rows
    for row in scored.to_pylist():
        first, second = row["query"].split(" ")
        expected = math.log2(num_words * row["count"] / (count_of[first] * count_of[second]))
        assert row["pmi"] == pytest.approx(expected, abs=1e-5)


def test_pairs_with_a_word_that_is_not_kept_are_left_out() -> None:
    pairs, counts, num_words = corpus(LINES)
    kept = counts.filter(pc.not_equal(counts["word"], "the"))
    assert not any("the" in query.split() for query in score(pairs, kept, num_words)["query"].to_pylist())


def test_a_target_takes_the_highest_pmi_and_tells_the_threshold() -> None:
    found = selected(min_count=2, target=2)
    assert found.table["query"].to_pylist() == ["grand slam", "slam grand"] or found.table.num_rows == 2
    assert found.min_pmi == found.table["pmi"][1].as_py() == min(found.table["pmi"].to_pylist())
    assert selected(min_count=2, min_pmi=found.min_pmi).table.num_rows >= 2


def test_a_target_of_none_takes_none() -> None:
    found = selected(target=0)
    assert (found.table.num_rows, found.min_pmi) == (0, None)


def test_ties_are_in_order_of_count_and_text() -> None:
    rows = selected(target=6).table.to_pylist()
    assert rows == sorted(rows, key=lambda row: (-row["pmi"], -row["count"], row["query"]))


def test_a_threshold_out_of_reach_of_a_small_corpus_says_so_with_the_bound() -> None:
    with pytest.raises(InputError, match=r"terms.min_pmi=30.*out of reach of this corpus of 19 words.*highest PMI: 2"):
        selected(min_pmi=30.0, min_count=2)


def test_more_bigrams_than_the_corpus_has_says_how_many_there_are() -> None:
    with pytest.raises(InputError, match=r"terms.num_bigrams=500: .* has 3 bigrams"):
        selected(target=500, min_count=2)
