from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from ftfy.badness import is_bad

from models.tokenizer.exact import clean
from models.tokenizer.kernel import LETTER, NONE, OTHER, SPACE, UNSURE, find_word, packed
from models.tokenizer.tables import NUM_RAW, MergeTables, build_tables, cleaned_signs, kind_of, raw_signs
from models.tokenizer.vocabulary import Vocabulary

ASCII = [chr(code) for code in range(32, 127) if chr(code) != "&"]
QUIET = [chr(code) for code in range(128, NUM_RAW) if raw_signs()[0][code] != UNSURE]


def test_a_quiet_sign_is_no_mojibake_between_any_two_of_ascii() -> None:
    assert len(QUIET) > 250
    for sign in QUIET:
        around = "".join(before + sign for before in ASCII) + "".join(sign + behind for behind in reversed(ASCII))
        assert not is_bad(around.replace(sign + sign, sign)), sign


def test_what_a_quiet_sign_becomes_is_what_cleaning_makes_of_it_anywhere() -> None:
    becomes = raw_signs()[1]
    for sign in QUIET:
        made = chr(becomes[ord(sign)])
        for text in (f"{sign} x", f"x {sign}", f"a{sign}b{sign}c{sign}", f"!{sign}1{sign}Z", f"'{sign}'"):
            assert clean(text) == " ".join(text.lower().replace(sign.lower(), made).split()), (sign, text)


@pytest.mark.parametrize("sign", ["Â", "Ã", "œ", "Œ", "\x85", "ſ", "ŉ", "ĳ", "\u2028", "&\x07"[1], "\x7f", "\x0b"])
def test_a_sign_that_needs_its_neighbours_is_left_to_the_twin(sign: str) -> None:
    assert raw_signs()[0][ord(sign)] == UNSURE


def test_kinds_follow_the_classes_of_unicode() -> None:
    regex = pytest.importorskip("regex")
    kinds = cleaned_signs()[0]
    for code in range(33, len(kinds)):
        sign = chr(code)
        if kinds[code] != UNSURE:
            is_letter, is_number = bool(regex.match(r"\p{L}", sign)), bool(regex.match(r"\p{N}", sign))
            assert (kinds[code] == LETTER, kinds[code] == OTHER) == (is_letter, not is_letter and not is_number), sign


def test_space_is_the_only_sign_between_words_of_a_cleaned_text() -> None:
    assert [code for code, kind in enumerate(cleaned_signs()[0]) if kind == SPACE] == [32]
    assert kind_of("\u0345") == kind_of("\x00") == kind_of("\u3000") == kind_of("\ud800") == UNSURE
    assert all(kind_of(chr(c)) == UNSURE for c in range(0x1000, 0x2000) if unicodedata.category(chr(c)) == "Cn")


def word_id(tables: MergeTables, word: bytes) -> int:
    data = np.frombuffer(word, np.uint8)
    return int(find_word(tables.words_S4, *packed(data, len(data))))


def test_a_word_that_merging_makes_is_found_by_one_look_up() -> None:
    tables = build_tables(Vocabulary((("c", "a"), ("ca", "t</w>")), 8))
    assert word_id(tables, b"cat") == 513
    assert [word_id(tables, word) for word in (b"ca", b"ta", b"at", b"cats")] == [NONE] * 4


def test_a_word_that_merging_does_not_reach_is_not_listed() -> None:
    # "abc" is a word, but in a text "b" and "c" join first, and "a" stays alone
    vocabulary = Vocabulary((("b", "c</w>"), ("a", "b"), ("ab", "c</w>")), 8)
    assert word_id(build_tables(vocabulary), b"abc") == NONE


def test_the_last_byte_of_a_word_alone_is_found_for_all_but_the_zero_byte() -> None:
    tables = build_tables(Vocabulary((("a", "b"),), 8))
    assert len({word_id(tables, bytes([byte])) for byte in range(1, 256)}) == 255
    assert word_id(tables, b"a") == 256 + 64
