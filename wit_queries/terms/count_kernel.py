"""The compiled loops of counting: words become numbers, neighbours become pairs of numbers.

A vocabulary is a tuple of arrays. Word number w has its bytes in letters[starts[w]:starts[w + 1]], its hash in
hashes[w] and its count in counts[w]; `slots`, a power of two and twice as many as there may be words, finds it: an open
addressing table of the hash's upper half and the number + 1. A pair is one int64: the first word's number above the
second's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openwit.kernels.buffers import Bytes, Offsets
from openwit.kernels.compiled import compiled, inlined
from openwit.kernels.hashing import FNV_BASIS, U64, fnv1a, mix

I64 = npt.NDArray[np.int64]
Vocabulary = tuple[U64, U64, I64, Bytes, I64]

SPACE = 32
_HALF = np.uint64(32)
_NUMBER = np.uint64(0xFFFFFFFF)


@inlined
def _same(word: int, data: Bytes, begin: int, end: int, starts: I64, letters: Bytes) -> bool:
    start = starts[word]
    if starts[word + 1] - start != end - begin:
        return False
    for step in range(end - begin):  # noqa: SIM110 (a generator would not compile)
        if letters[start + step] != data[begin + step]:
            return False
    return True


@compiled
def count_lines(
    lines: tuple[Bytes, Offsets], start: tuple[int, int, int], vocabulary: Vocabulary, pairs: I64
) -> tuple[int, int, int]:
    """Counts the words, split by one space, of the lines from number start[0] on. `start` and the result are (number
    of the line, of words, of pairs): the line to go on with when there is more room, which `room_for` tells, or the
    number of lines."""
    data, offsets = lines
    line, num_words, num_pairs = start
    slots, hashes, starts, letters, counts = vocabulary
    mask = np.uint64(len(slots) - 1)
    while line < len(offsets) - 1:  # whole lines, so that whoever makes room goes on at one
        at, line_end = offsets[line], offsets[line + 1]
        most = (line_end - at + 1) // 2
        if (
            num_words + most > len(counts)
            or starts[num_words] + line_end - at > len(letters)
            or num_pairs + most > len(pairs)
        ):
            break
        before = -1
        while at < line_end:
            begin = at
            key = FNV_BASIS
            while at < line_end and data[at] != SPACE:
                key = fnv1a(key, data[at])
                at += 1
            key = mix(key)
            slot = key & mask
            while True:  # the upper half of the hash parts nearly all words, so that few are compared by letters
                entry = slots[slot]
                if entry == 0:
                    word = num_words
                    num_words += 1
                    slots[slot] = (key >> _HALF) << _HALF | np.uint64(word + 1)
                    hashes[word] = key
                    counts[word] = 0
                    place = starts[word]
                    starts[word + 1] = place + at - begin
                    for step in range(at - begin):
                        letters[place + step] = data[begin + step]
                    break
                if entry >> _HALF == key >> _HALF:
                    word = int(entry & _NUMBER) - 1
                    if _same(word, data, begin, at, starts, letters):
                        break
                slot = (slot + np.uint64(1)) & mask
            counts[word] += 1
            if before >= 0:
                pairs[num_pairs] = before << 32 | word
                num_pairs += 1
            before = word
            at += 1  # the space
        line += 1
    return line, num_words, num_pairs


@compiled
def fill_slots(slots: U64, hashes: U64) -> None:
    """Enters words 0, 1, … with these hashes into a table without entries."""
    mask = np.uint64(len(slots) - 1)
    for word in range(len(hashes)):  # all differ: the first empty slot is theirs
        slot = hashes[word] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (hashes[word] >> _HALF) << _HALF | np.uint64(word + 1)


@compiled
def count_equal(values: I64, counts: npt.NDArray[np.int32]) -> int:
    """How many different values there are in `values`, which are sorted: they move to its front, and how often each
    occurs stands in `counts`."""
    last = -1
    for i in range(len(values)):
        if last >= 0 and values[i] == values[last]:
            counts[last] += 1
        else:
            last += 1
            values[last] = values[i]
            counts[last] = 1
    return last + 1
