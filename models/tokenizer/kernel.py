"""The compiled loop of Tokenizer: UTF-8 in, rows of ids out, without a cache and without a lock.

Legend: B texts · L tokens of a row · S slots of a hash table, a power of two: pairs_S2 holds two ids in one number and
the id that they merge to, words_S4 two times eight bytes of a word, its id, and nothing. What
a code point does depends on its kind (tables.py), and UNSURE leaves the whole text to the plain twin. A word of the
vocabulary is found by one look-up, any other is merged.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from openwit.kernels.compiled import compiled, inlined
from openwit.kernels.utf8 import Whole, decode, encode

SPACE, LETTER, DIGIT, OTHER, UNSURE = range(5)
MAX_BYTES = 64  # of a word; merging takes their square, so longer ones are for the twin
PACKED_BYTES = 16  # of a word that one look-up finds
LEFT_TO_TWIN = -1
EMPTY = -1  # the id of a slot that holds nothing
NONE = 1 << 31  # no word: above all ids
MIX = 0x1E3779B97F4A7C15  # an odd number without a pattern
QUOTE, AMPERSAND, BLANK = 39, 38, 32

Ints: TypeAlias = npt.NDArray[np.int64]
Small: TypeAlias = npt.NDArray[np.int32]
Bytes: TypeAlias = npt.NDArray[np.uint8]
CodePointTable: TypeAlias = tuple[Bytes, Small, bool]  # kinds and replacements; whether the texts are cleaned
Merging: TypeAlias = tuple[Ints, Ints]  # pairs_S2, and the id of each byte


@compiled
def slot_of(key: Whole, size: Whole) -> int:
    """Where a key's search starts in a table of `size` slots, a power of two."""
    mixed = np.int64(key) * np.int64(MIX)
    return int((mixed >> 32 ^ mixed >> 20) & np.int64(size - 1))


@compiled
def find_pair(pairs_S2: Ints, left: Whole, right: Whole) -> int:
    """The id that two ids merge to, or NONE."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = slot_of(key, len(pairs_S2))
    while pairs_S2[slot, 1] != EMPTY:
        if pairs_S2[slot, 0] == key:
            return int(pairs_S2[slot, 1])
        slot = (slot + 1) & (len(pairs_S2) - 1)
    return NONE


@compiled
def find_word(words_S4: Ints, first: Whole, second: Whole) -> int:
    """The id of the word of at most PACKED_BYTES bytes, or NONE."""
    slot = slot_of(first ^ second * 31, len(words_S4))
    while words_S4[slot, 2] != EMPTY:
        if words_S4[slot, 0] == first and words_S4[slot, 1] == second:
            return int(words_S4[slot, 2])
        slot = (slot + 1) & (len(words_S4) - 1)
    return NONE


@compiled
def merge(pairs_S2: Ints, ids: Ints, made: Ints, size: int) -> int:
    """Merges ids[:size] in place, the pair of the lowest result first, the leftmost of equals; the number left.
    `made` is scratch: what each id and the next one merge to."""
    for at in range(size - 1):
        made[at] = find_pair(pairs_S2, ids[at], ids[at + 1])
    while size > 1:
        best, where = NONE, 0
        for at in range(size - 1):
            if made[at] < best:
                best, where = made[at], at
        if best == NONE:
            break
        size -= 1
        ids[where] = best
        for at in range(where + 1, size):
            ids[at], made[at] = ids[at + 1], made[at + 1]
        if where:
            made[where - 1] = find_pair(pairs_S2, ids[where - 1], best)
        if where + 1 < size:
            made[where] = find_pair(pairs_S2, best, ids[where + 1])
    return size


@inlined
def read_code_point(
    data: Bytes, at: Whole, end: Whole, code_points: CodePointTable, after_ascii: bool
) -> tuple[Whole, Whole, int]:
    """The kind of the code point at `at`, what it becomes, and its number of bytes. In a text that is not cleaned,
    two of them beyond ASCII together, and an ampersand that may begin an entity, are UNSURE."""
    kinds, becomes, cleaned = code_points
    code, num_bytes = decode(data, at, end)
    if code < 0 or code >= len(kinds):
        return UNSURE, code, num_bytes
    if not cleaned:
        if num_bytes > 1 and not after_ascii:
            return UNSURE, code, num_bytes
        if code == AMPERSAND and at + 1 < end and data[at + 1] != BLANK:
            return UNSURE, code, num_bytes
    return np.int64(kinds[code]), np.int64(becomes[code]), num_bytes


@compiled
def contraction(data: Bytes, at: Whole, end: Whole) -> int:
    """How many letters behind an apostrophe belong to it: of 's 't 'm 'd, 're 've 'll; ASCII in any case."""
    one = np.int64(data[at]) | 32 if at < end else 0
    two = np.int64(data[at + 1]) | 32 if at + 1 < end else 0
    if one == 115 or one == 116 or one == 109 or one == 100:
        return 1
    if ((one == 114 or one == 118) and two == 101) or (one == 108 and two == 108):
        return 2
    return 0


@compiled
def packed(word: Bytes, size: int) -> tuple[Whole, Whole]:
    """The word's at most PACKED_BYTES bytes as two numbers; no word holds a zero byte."""
    first = second = np.int64(0)
    for at in range(min(size, 8)):
        first |= np.int64(word[at]) << 8 * at
    for at in range(8, size):
        second |= np.int64(word[at]) << 8 * (at - 8)
    return first, second


@compiled
def ids_of_word(word: Bytes, size: int, words_S4: Ints, merging: Merging, scratch: tuple[Ints, Ints]) -> int:
    """The word's ids into scratch[0]; their number."""
    ids, made = scratch
    if size <= PACKED_BYTES:
        first, second = packed(word, size)
        found = find_word(words_S4, first, second)
        if found != NONE:
            ids[0] = found
            return 1
    pairs_S2, symbols = merging
    for at in range(size):
        ids[at] = symbols[word[at]]
    ids[size - 1] += 256
    return merge(pairs_S2, ids, made, size)


@compiled
def encode_texts(
    texts: tuple[Bytes, Ints], code_points: CodePointTable, words_S4: Ints, merging: Merging, rows: Ints, ids_BL: Ints
) -> Ints:
    """Writes the ids of the texts into ids_BL[rows], behind the position of the start token. Returns how many each has:
    at most L - 1, which is one more than fit, or LEFT_TO_TWIN."""
    data, offsets = texts
    num_fitting = ids_BL.shape[1] - 2
    counts = np.zeros(len(rows), np.int64)
    word = np.empty(MAX_BYTES + 4, np.uint8)
    scratch = np.empty(MAX_BYTES, np.int64), np.empty(MAX_BYTES, np.int64)
    for number in range(len(rows)):
        at, end = offsets[number], offsets[number + 1]
        count = size = 0
        now: Whole = SPACE  # the kind of the word that is open
        num_bytes = 1
        while True:
            kind: Whole = SPACE  # behind the end too
            code: Whole = BLANK
            if at < end:
                kind, code, num_bytes = read_code_point(data, at, end, code_points, num_bytes == 1)
                if kind == UNSURE:
                    count = LEFT_TO_TWIN
                    break
            if size and (kind != now or kind == DIGIT):
                if count <= num_fitting:  # else the row is full, but what follows may still be UNSURE
                    num_ids = ids_of_word(word, size, words_S4, merging, scratch)
                    for step in range(min(num_ids, num_fitting - count)):
                        ids_BL[rows[number], 1 + count + step] = scratch[0][step]
                    count = min(count + num_ids, num_fitting + 1)
                size = 0
            if at >= end:
                break
            at += num_bytes
            now = kind
            if kind != SPACE:
                size = encode(word, size, code)
                if size > MAX_BYTES:
                    count = LEFT_TO_TWIN
                    break
                while now == LETTER and at < end and size < MAX_BYTES:  # the common case, by itself
                    letter = np.int64(data[at]) | 32
                    if letter < 97 or letter > 122:
                        break
                    word[size] = letter
                    size += 1
                    at += 1
                    num_bytes = 1
                if size == 1 and code == QUOTE:
                    for _ in range(contraction(data, at, end)):
                        size = encode(word, size, np.int64(data[at]) | 32)
                        at += 1
                        now, num_bytes = DIGIT, 1  # complete: nothing joins it
        counts[number] = count
    return counts


# The tables are filled here, where they are searched.


@compiled
def pair_table(pairs_M2: Ints, num_slots: int) -> Ints:
    """pairs_S2 of M merges, in their order."""
    table_S2 = np.full((num_slots, 2), EMPTY, np.int64)
    for rank in range(len(pairs_M2)):
        key = pairs_M2[rank, 0] << 32 | pairs_M2[rank, 1]
        slot = slot_of(key, num_slots)
        while table_S2[slot, 1] != EMPTY:
            slot = (slot + 1) & (num_slots - 1)
        table_S2[slot] = key, 512 + rank
    return table_S2


@compiled
def word_table(spelled: tuple[Bytes, Ints, Ints], merging: Merging, num_slots: int) -> Ints:
    """words_S4 of those words, given by their bytes, ends and ids, that merging makes their one id of."""
    data, ends, numbers = spelled
    table_S4 = np.full((num_slots, 4), EMPTY, np.int64)
    no_words = np.full((1, 4), EMPTY, np.int64)
    scratch = np.empty(PACKED_BYTES, np.int64), np.empty(PACKED_BYTES, np.int64)
    for number in range(len(numbers)):
        word = data[ends[number] : ends[number + 1]]
        if ids_of_word(word, len(word), no_words, merging, scratch) == 1 and scratch[0][0] == numbers[number]:
            first, second = packed(word, len(word))
            slot = slot_of(first ^ second * 31, num_slots)
            while table_S4[slot, 2] != EMPTY:
                slot = (slot + 1) & (num_slots - 1)
            table_S4[slot] = first, second, numbers[number], 0
    return table_S4
