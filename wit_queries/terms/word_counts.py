"""Words and neighbouring pairs of words, counted in text with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openwit.kernels.buffers import string_array, utf8_buffers
from openwit.kernels.hashing import U64
from wit_queries.terms.count_kernel import I64, Vocabulary, count_equal, count_lines, fill_slots
from wit_queries.text.fast_normalize import normalize_batch

I32 = npt.NDArray[np.int32]

BATCH_CHARACTERS = 2 << 20
FIRST_WORDS = 1 << 14
LETTER_BYTES = 16  # room for a word's letters, on average
WORD_BYTES = 80  # memory that a different word costs at most, counted and on its way to the file
PAIR_BYTES = 40  # the same for a pair


@dataclass(frozen=True)
class Counted:
    """The counts of a run of texts. `words` (word · count) and the hash of each; `pairs` are all different, each the
    places of its two words in `words` (see `split_pairs`), and `pair_counts` how often each occurs."""

    words: pa.Table
    hashes: U64
    pairs: I64
    pair_counts: I32


class TextCounts:
    """Counts the words and pairs of all texts added. A pair does not reach over the end of a line. `receive` is given
    the counts of a run of texts each time that `memory_bytes` are full, and at the end; they are to be added up."""

    def __init__(self, receive: Callable[[Counted], None], memory_bytes: int) -> None:
        self.receive = receive
        self.most_words = memory_bytes // 4 // WORD_BYTES
        self._batch: list[str] = []
        self._characters = 0
        self._num_words = self._num_pairs = 0
        self._vocabulary = _vocabulary(min(FIRST_WORDS, self.most_words))
        self._pairs = np.empty(memory_bytes * 3 // 4 // PAIR_BYTES, np.int64)

    def add(self, text: str) -> None:
        """Counts the words of `text`."""
        self._batch.append(text)
        self._characters += len(text)
        if self._characters >= BATCH_CHARACTERS:
            self._count_batch()

    def finish(self) -> None:
        """Hands over what is left."""
        self._count_batch()
        self._hand_over()

    def _count_batch(self) -> None:
        lines = utf8_buffers(normalize_batch(_lines(self._batch)))
        self._batch, self._characters = [], 0
        offsets, line = lines[1], 0
        while True:
            start = (line, self._num_words, self._num_pairs)
            line, self._num_words, self._num_pairs = count_lines(lines, start, self._vocabulary, self._pairs)
            if line == len(offsets) - 1:
                return
            self._make_room(int(offsets[line + 1] - offsets[line]))

    def _make_room(self, line_bytes: int) -> None:
        """Room for all that a line of so many bytes may hold, by handing over or, within the limit, by more memory; a
        line that is longer than the limit gets its room, too."""
        most_new = (line_bytes + 1) // 2
        starts = self._vocabulary[2]
        words = max(self._num_words + most_new, -(-int(starts[self._num_words] + line_bytes) // LETTER_BYTES))
        full = self._num_pairs + most_new > len(self._pairs) or words > self.most_words
        if full and self._num_words:
            self._hand_over()
            self._make_room(line_bytes)
            return
        if words > len(self._vocabulary[-1]):
            room = max(words, min(2 * words, self.most_words))
            self._vocabulary = _grown(self._vocabulary, self._num_words, room)
        if most_new > len(self._pairs):
            self._pairs = np.empty(most_new, np.int64)

    def _hand_over(self) -> None:
        if not self._num_words:
            return
        slots, hashes, starts, letters, counts = self._vocabulary
        size, used = self._num_words, self._pairs[: self._num_pairs]
        ends = starts[: size + 1].astype(np.int32)
        words = string_array(letters[: ends[-1]].copy(), ends)
        used.sort()
        pair_counts = np.empty(len(used), np.int32)
        num_pairs = count_equal(used, pair_counts)
        self.receive(
            Counted(
                pa.table({"word": words, "count": counts[:size].copy()}),
                hashes[:size].copy(),
                used[:num_pairs].copy(),
                pair_counts[:num_pairs],
            )
        )
        slots[:] = 0
        self._num_words = self._num_pairs = 0


def split_pairs(pairs: I64) -> tuple[I32, I32]:
    """The numbers of the first and of the second words of pairs that are one number each."""
    return (pairs >> 32).astype(np.int32), (pairs & 0xFFFFFFFF).astype(np.int32)


def join_pairs(first: I32, second: I32) -> I64:
    """Pairs as one number each, from the numbers of their words."""
    return first.astype(np.int64) << 32 | second


def _lines(texts: list[str]) -> pa.StringArray:
    """All lines of the texts, each with its line feed, without a copy of any."""
    data = np.frombuffer("\n".join(texts).encode("utf-8", "surrogatepass"), np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1
    return string_array(data, np.concatenate([[0], ends, [len(data)]]))


def _vocabulary(most_words: int) -> Vocabulary:
    """An empty vocabulary with room for so many words of LETTER_BYTES on average."""
    slots = np.zeros(1 << (2 * most_words - 1).bit_length(), np.uint64)
    hashes, counts = np.empty(most_words, np.uint64), np.empty(most_words, np.int64)
    starts = np.zeros(most_words + 1, np.int64)
    return slots, hashes, starts, np.empty(LETTER_BYTES * most_words, np.uint8), counts


def _grown(vocabulary: Vocabulary, num_words: int, most_words: int) -> Vocabulary:
    """The same words in a vocabulary with room for `most_words`."""
    slots, hashes, starts, letters, counts = _vocabulary(most_words)
    hashes[:num_words] = vocabulary[1][:num_words]
    starts[: num_words + 1] = vocabulary[2][: num_words + 1]
    letters[: starts[num_words]] = vocabulary[3][: starts[num_words]]
    counts[:num_words] = vocabulary[4][:num_words]
    fill_slots(slots, hashes[:num_words])
    return slots, hashes, starts, letters, counts
