"""A vocabulary as hash tables in flat arrays, which the compiled loop reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bpe.kernel import PACKED_BYTES, Ints, Merging, pair_table, word_table
from models.bpe.vocabulary import END_OF_WORD, Vocabulary, byte_order, byte_symbols


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
