from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from ftfy.badness import is_bad

from models.tokenizer.exact import clean
from models.tokenizer.kernel import LETTER, NONE, OTHER, SPACE, UNSURE, find_word, packed
from models.tokenizer.tables import NUM_RAW, MergeTables, build_tables, cleaned_code_points, kind_of, raw_code_points
from models.tokenizer.vocabulary import Vocabulary

ASCII = [chr(code) for code in range(32, 127) if chr(code) != "&"]
QUIET = [chr(code) for code in range(128, NUM_RAW) if raw_code_points()[0][code] != UNSURE]


def test_a_quiet_character_is_no_mojibake_between_any_two_of_ascii() -> None:
    assert len(QUIET) > 250
    for char in QUIET:
        around = "".join(before + char for before in ASCII) + "".join(char + behind for behind in reversed(ASCII))
        assert not is_bad(around.replace(char + char, char)), char


def test_what_a_quiet_character_becomes_is_what_cleaning_makes_of_it_anywhere() -> None:
    becomes = raw_code_points()[1]
    for char in QUIET:
        made = chr(becomes[ord(char)])
        for text in (f"{char} x", f"x {char}", f"a{char}b{char}c{char}", f"!{char}1{char}Z", f"'{char}'"):
            assert clean(text) == " ".join(text.lower().replace(char.lower(), made).split()), (char, text)


@pytest.mark.parametrize("char", ["Â", "Ã", "œ", "Œ", "\x85", "ſ", "ŉ", "ĳ", "\u2028", "&\x07"[1], "\x7f", "\x0b"])
def test_a_character_that_needs_its_neighbours_is_left_to_the_twin(char: str) -> None:
    assert raw_code_points()[0][ord(char)] == UNSURE


def test_kinds_follow_the_classes_of_unicode() -> None:
    regex = pytest.importorskip("regex")
    kinds = cleaned_code_points()[0]
    for code in range(33, len(kinds)):
        char = chr(code)
        if kinds[code] != UNSURE:
            is_letter, is_number = bool(regex.match(r"\p{L}", char)), bool(regex.match(r"\p{N}", char))
            assert (kinds[code] == LETTER, kinds[code] == OTHER) == (is_letter, not is_letter and not is_number), char


def test_space_is_the_only_character_between_words_of_a_cleaned_text() -> None:
    assert [code for code, kind in enumerate(cleaned_code_points()[0]) if kind == SPACE] == [32]
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
