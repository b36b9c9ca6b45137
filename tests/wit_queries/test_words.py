from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from wit_queries.words import TextCounts, add_up, frequent_words

texts = st.lists(st.text(alphabet="ab \n.'É"), max_size=8)


def counted(parts: list[str]) -> TextCounts:
    counts = TextCounts()
    for text in parts:
        counts.add(text)
    return counts


def test_pairs_do_not_reach_over_the_end_of_a_line() -> None:
    counts = counted(["The cat sat.\nThe cat", "ran"])
    assert counts.words == {"the": 2, "cat": 2, "sat": 1, "ran": 1}
    assert counts.pairs == {("the", "cat"): 2, ("cat", "sat"): 1}


@settings(deadline=None)
@given(texts, texts)
def test_counts_of_parts_add_up_to_those_of_the_whole(left: list[str], right: list[str]) -> None:
    whole, parts = counted(left + right), [counted(left), counted(right)]
    assert add_up([part.word_table() for part in parts]).equals(whole.word_table())
    assert add_up([part.pair_table() for part in parts]).equals(whole.pair_table())


def test_frequent_words_come_commonest_first_then_by_word() -> None:
    table = counted(["c b a b c d c b a"]).word_table()
    assert frequent_words(table, 2)["word"].to_pylist() == ["b", "c", "a"]


def test_a_threshold_that_no_word_reaches_is_an_error_with_the_highest_count() -> None:
    with pytest.raises(InputError, match=r"terms.min_count=4: no word .* 3 times"):
        frequent_words(counted(["a a a b"]).word_table(), 4)
