from __future__ import annotations

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wit_queries.matching.matcher import QueryMatcher
from wit_queries.text.normalize import normalize, words

ODD = "aZ09'’‘ʼ＇ʻ s S_-.,ßſİıſʼnŉᾳͅςΣﬁ²½Å가각ㅤ\u0301\u0345\u00ad\u200b\u200c\u200d\ufe0f\u20e3नि语ｶﾞ\U0001f469\ud800\0\n"
texts = st.one_of(st.text(), st.text(alphabet=ODD), st.text(alphabet="ab'sS ’"))


@settings(deadline=None)
@given(texts)
@example("ŉ")
@example("a\u0345\u0301B")
@example("x's's")
def test_normalizing_again_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert words(once) == words(text) == once.split(" ") if once else words(text) == []


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_text_gives_the_same_words_on_the_short_way_as_on_the_long(text: str) -> None:
    assert words(text) == words(text + " \u00e9")[:-1]


@settings(deadline=None)
@given(texts)
def test_a_query_of_the_list_matches_the_caption_that_it_came_from(text: str) -> None:
    assert QueryMatcher([normalize(text)]).match([text]) == ([[0]] if words(text) else [[]])


@settings(deadline=None)
@given(texts)
def test_words_hold_no_space_and_never_begin_with_a_mark(text: str) -> None:
    for word in words(text):
        assert regex.fullmatch(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}']*", word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("St. Louis, Missouri", ["st", "louis", "missouri"]),
        ("The dog's bowl, the dogs' bowl", ["the", "dog", "bowl", "the", "dogs", "bowl"]),
        ("Don’t at 12 o‘clock", ["don't", "at", "12", "o'clock"]),
        ("donʼt", ["don't"]),  # U+02BC
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("ﬁre x² ½", ["fire", "x2", "1", "2"]),
        ("snake_case-word", ["snake", "case", "word"]),
        ("soft\u00adly zero\u200bwidth", ["softly", "zero", "width"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\u2764\ufe0f heart", ["heart"]),
        ("'quoted' ''", ["quoted"]),
        ("", []),
    ],
)
def test_text_becomes_these_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected
