from __future__ import annotations

import html

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer.exact import ExactEncoder, clean, word_splitter
from models.tokenizer.vocabulary import find_merges, read_vocabulary


def test_the_twin_gives_the_reference_ids_of_cleaned_texts() -> None:
    reference = pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()
    texts = ["a photo of a cat", "naïve café's 10,000 🏳️‍🌈", "", "don't 'ſ x\u0345x ½", "mississippi" * 40]
    assert ExactEncoder(read_vocabulary(find_merges())).ids(texts) == [reference.encode(text) for text in texts]


def test_words_are_letters_single_numbers_others_and_the_ends_of_contractions() -> None:
    words = [word for word, _ in word_splitter().pre_tokenize_str("i've 12 dogs!'s x'sun")]
    assert words == ["i", "'ve", "1", "2", "dogs", "!'", "s", "x", "'s", "un"]


@given(st.text(st.characters(max_codepoint=0x7F), max_size=60))
def test_the_shortcut_for_plain_ascii_cleans_like_the_long_way(text: str) -> None:
    assert clean(text) == " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()


def test_mojibake_entities_space_and_case_are_mended() -> None:
    assert clean("  A caf\u00c3\u00a9 \n &amp;amp; MORE ") == "a café & more"


def test_half_of_a_surrogate_pair_becomes_the_replacement_character_and_a_whole_pair_its_character() -> None:
    assert clean("\ud800 a \ud83d\ude00") == "\ufffd a 😀"


def test_entities_are_decoded_twice_beyond_what_ftfy_does_and_no_further() -> None:
    """ftfy leaves them alone where a tag stands in the text."""
    assert clean("<b> &amp;lt;") == "<b> <"
    assert clean("<b> &amp;amp;lt;") == "<b> &lt;"
