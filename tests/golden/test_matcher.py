"""Which queries are found in captions, and how texts are normalised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from wit_queries.matching.matcher import MODES, Mode, QueryMatcher
from wit_queries.text.normalize import normalize

QUERIES = [
    "cat", "cats", "black cat", "st louis", "st. louis", "new york", "york", "new york city", "naïve", "naive",
    "café", "rock 'n' roll", "o'brien", "c++", "c", "3d", "the", "東京", "東", "istanbul", "İstanbul", "ﬁne", "fine",
    "well-known", "well known", "a b c", "don't", "dont", "ß", "ss", "ॐ", "👍", "e.g.", "Cat", "seventy", "",
]  # fmt: skip
CAPTIONS = [
    "a cat", "A CAT.", "cats and a black cat", "black  cat", "black-cat", "black, cat", "St. Louis at night",
    "New York City, NY", "new york, city", "newyork", "naïve", "naive café", "cafe\u0301", "rock 'n' roll",
    "rock ’n’ roll", "O’Brien's pub", "c++ and c", "3D print", "the the the", "東京タワー", "東 京", "İstanbul",
    "ISTANBUL", "ﬁne art", "a well-known cat", "a b c a b c", "don't", "DON’T", "straße strasse", "ॐ 👍🏽",
    "e.g. a cat;dog", "cat\tcat\ncat", "soft\u00adhyphen cat\u200b", "", "  ", "lone \ud800 cat",
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_the_queries_of_a_caption_are_what_they_were(mode: Mode, golden: Callable[[str, object], None]) -> None:
    found = QueryMatcher(QUERIES, mode).match(CAPTIONS)
    told = {ascii(text): [QUERIES[number] for number in ids] for text, ids in zip(CAPTIONS, found, strict=True)}
    golden(f"matches_{mode}", told)


def test_the_table_of_queries_is_the_bytes_that_it_was(tmp_path: Path, golden: Callable[[str, object], None]) -> None:
    told = {}
    for mode in MODES:
        QueryMatcher(QUERIES, mode).save(str(tmp_path / mode))
        told[mode] = hashlib.sha256((tmp_path / mode).read_bytes()).hexdigest()
    golden("query_table", told)


def test_a_text_is_normalised_as_it_was(golden: Callable[[str, object], None]) -> None:
    golden("normalised", {ascii(text): normalize(text) for text in [*QUERIES, *CAPTIONS]})
