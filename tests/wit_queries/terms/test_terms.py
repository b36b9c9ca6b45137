from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from openwit.errors import InputError
from wit_queries.articles import WORD_BUCKETS, WORD_COUNTS
from wit_queries.terms import Vocabulary, collect_words, wanted_pairs
from wit_queries.words import split_pairs

COUNTS = Counter("c b a b c d c b a e".split())


def collected(wanted: list[str], min_count: int) -> Vocabulary:
    """From the words of COUNTS, each in some bucket."""
    rows = list(COUNTS.items())
    tables = [
        pa.table([[w for w, _ in rows[n::WORD_BUCKETS]], [c for _, c in rows[n::WORD_BUCKETS]]], schema=WORD_COUNTS)
        for n in range(WORD_BUCKETS)
    ]
    return collect_words(tables.__getitem__, pa.array(wanted, pa.string()), min_count)


def test_frequent_words_come_commonest_first_then_by_word_and_wanted_ones_behind() -> None:
    vocabulary = collected(["e", "a", "d", "zebra"], 2)
    assert vocabulary.table["word"].to_pylist() == ["b", "c", "a", "d", "e"]
    assert vocabulary.table["count"].to_pylist() == [3, 3, 2, 1, 1]
    assert (vocabulary.num_frequent, vocabulary.num_words, vocabulary.num_different) == (3, 10, 5)


def test_a_threshold_that_no_word_reaches_is_an_error_with_the_highest_count() -> None:
    with pytest.raises(InputError, match=r"terms.min_count=4: no word .* 3 times"):
        collected(["a"], 4)


def test_wanted_pairs_are_the_queries_of_two_known_words() -> None:
    words = pa.chunked_array([["the", "cat"], ["sat"]])
    first, second = split_pairs(wanted_pairs(["cat sat", "cat", "the dog", "the cat", "the cat sat"], words))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert len(wanted_pairs([], words)) == 0
