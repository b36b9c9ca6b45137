from __future__ import annotations

import numpy as np

from models.bpe.kernel import NONE, find_word, packed
from models.bpe.merge_tables import MergeTables, build_tables
from models.bpe.vocabulary import Vocabulary


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
