from __future__ import annotations

import html

import ftfy
from hypothesis import given
from hypothesis import strategies as st

from models.bpe.cleaning import clean


@given(st.text(st.characters(max_codepoint=0x7F), max_size=60))
def test_the_shortcut_for_plain_ascii_cleans_like_the_long_way(text: str) -> None:
    assert clean(text) == " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def test_mojibake_entities_space_and_case_are_mended() -> None:
    assert clean("  A caf\u00c3\u00a9 \n &amp;amp; MORE ") == "a café & more"


def test_half_of_a_surrogate_pair_becomes_the_replacement_sign_and_a_whole_pair_its_sign() -> None:
    assert clean("\ud800 a \ud83d\ude00") == "\ufffd a 😀"
