"""What each code point does in a text: for texts as they come, and for cleaned ones.

A vocabulary as hash tables in flat arrays, which the compiled loop reads.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from dataclasses import dataclass

import numpy as np

from models.tokenizer.exact import clean
from models.tokenizer.kernel import (
    DIGIT,
    LETTER,
    OTHER,
    PACKED_BYTES,
    SPACE,
    UNSURE,
    CodePointTable,
    Ints,
    Merging,
    pair_table,
    word_table,
)
from models.tokenizer.vocabulary import END_OF_WORD, Vocabulary, byte_order, byte_symbols

NUM_CLEANED = 0x20000  # code points up to the emoji
NUM_RAW = 0x2123
# Signs that say mojibake to ftfy only beside another one that is not ASCII: Latin letters, common punctuation, € and ™.
# Â, Ã, Œ and œ can do so by themselves; of c1 controls and marks that join a letter there is none.
QUIET = (*range(0xA0, 0x180), *range(0x2010, 0x2028), *range(0x2030, 0x203B), 0x20AC, 0x2122)
LOUD = frozenset("ÂÃŒœ")
# The pattern is matched without regard to case, which in lower-case text matters for two letters: the long s is an s
# behind an apostrophe, and U+0345 is an iota, then neither letter nor other.
ODD_CASE = frozenset("ſ\u0345")


def kind_of(char: str) -> int:
    """What the reference's pattern takes a cleaned text's character for; UNSURE where tables of Unicode may differ."""
    category = unicodedata.category(char)
    if char == " ":
        return SPACE
    if category in ("Cn", "Cs", "Co") or char in ODD_CASE or char.isspace() or ord(char) < 32:
        return UNSURE
    return LETTER if category[0] == "L" else DIGIT if category[0] == "N" else OTHER


@functools.cache
def cleaned_code_points() -> CodePointTable:
    """For texts that went through `clean`."""
    kinds = np.array([kind_of(chr(code)) for code in range(NUM_CLEANED)], np.uint8)
    return kinds, np.arange(NUM_CLEANED, dtype=np.int32), True


@functools.cache
def raw_code_points() -> CodePointTable:
    """For texts as they come: characters that `clean` treats one by one, where they stand between ASCII."""
    kinds = np.full(NUM_RAW, UNSURE, np.uint8)
    becomes = np.arange(NUM_RAW, dtype=np.int32)
    for code in itertools.chain(range(32, 127), QUIET):
        char = chr(code).lower() if code < 128 else clean(f"a{chr(code)}a")[1:-1]
        if len(char) == 1 and chr(code) not in LOUD:
            kinds[code], becomes[code] = kind_of(char), ord(char)
    kinds[[ord(char) for char in "\t\n\r"]] = SPACE
    return kinds, becomes, False


@dataclass(frozen=True)
class MergeTables:
    """How to merge, and the words that merging makes one id of."""

    merging: Merging
    words_S4: Ints


def build_tables(vocabulary: Vocabulary) -> MergeTables:
    """The tables of a vocabulary. A word is listed only if merging its bytes leads to it, which it need not."""
    ids = {word: i for i, word in enumerate(vocabulary.words)}
    pairs_M2 = np.array([(ids[left], ids[right]) for left, right in vocabulary.merges], np.int64).reshape(-1, 2)
    symbols = np.empty(256, np.int64)
    symbols[byte_order()] = range(256)
    merging = pair_table(pairs_M2, _num_slots(len(pairs_M2))), symbols
    byte_of = dict(zip(byte_symbols(), byte_order(), strict=True))
    spelled = [
        (bytes(byte_of[symbol] for symbol in word.removesuffix(END_OF_WORD)), i)
        for word, i in ids.items()
        if i >= 256 and word.endswith(END_OF_WORD) and len(word) <= PACKED_BYTES + len(END_OF_WORD)
    ]
    spelled = [(spelling, i) for spelling, i in spelled if 0 not in spelling]
    data = np.frombuffer(b"".join(spelling for spelling, _ in spelled), np.uint8)
    ends = np.cumsum([0, *(len(spelling) for spelling, _ in spelled)], dtype=np.int64)
    numbers = np.array([i for _, i in spelled], np.int64)
    words_S4 = word_table((data, ends, numbers), merging, _num_slots(len(spelled)))
    return MergeTables(merging, words_S4)


def _num_slots(num_keys: int) -> int:
    """A power of two, at least two and a half slots a key: most searches end at once."""
    return 1 << (5 * num_keys // 2 + 1).bit_length()
