from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import ConfigError
from wit_queries.matcher import QueryMatcher
from wit_queries.normalize import words

few_words = st.lists(st.sampled_from(["a", "b", "A", "b's", "c-a", "Éa", "!", "ﬁ", "fi", "a.b"]), max_size=6).map(
    " ".join
)
adversarial = st.one_of(few_words, st.text(alphabet="abÉé\u0301'’s .-\u00ad\u200b가ᄀ"), st.text(max_size=30))


def scan(queries: list[str], caption: str) -> list[int]:
    found = words(caption)
    wanted = [words(query) for query in queries]
    return [
        number
        for number, query in enumerate(wanted)
        if query and any(found[at : at + len(query)] == query for at in range(len(found)))
    ]


@settings(deadline=None)
@given(st.lists(adversarial, max_size=12), st.lists(adversarial, max_size=6))
def test_matches_are_those_of_a_scan_word_by_word(queries: list[str], captions: list[str]) -> None:
    assert QueryMatcher(queries).match(captions) == [scan(queries, caption) for caption in captions]


def test_overlapping_nested_and_equal_queries_are_all_found_once() -> None:
    queries = ["new", "new york", "york city", "New York", "new york city hall"]
    assert QueryMatcher(queries).match(["New York, New York City!"]) == [[0, 1, 2, 3]]


def test_part_of_a_word_is_no_match() -> None:
    assert QueryMatcher(["art", "cat"]).match(["a party of cats", ""]) == [[], []]


def test_a_very_long_caption_is_matched_at_its_end() -> None:
    assert QueryMatcher(["word end"]).match(["word " * 100_000 + "end"]) == [[0]]


def test_a_query_without_words_matches_nothing() -> None:
    assert QueryMatcher(["", "!?", "a"]).match(["", "a !?"]) == [[], [2]]


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mode=metaclip.*words"):
        QueryMatcher(["a"], mode="metaclip")
