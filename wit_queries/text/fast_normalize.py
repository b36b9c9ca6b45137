"""The compiled loop of normalize_batch: UTF-8 in, the normalised words in UTF-8 out.

Legend: `at` is a place in the texts, `pos` a place in the output. A state is BETWEEN words, INSIDE a word, or
PENDING: inside a word, behind an apostrophe that is part of it only if a letter follows.

normalize() for whole Arrow arrays, compiled; a text that the tables leave UNSURE goes to the plain twin, normalize().
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from openwit.kernels.buffers import Bytes, Offsets, string_array, utf8_buffers
from openwit.kernels.compiled import UNSURE, compiled
from openwit.kernels.utf8 import byte_at, decode
from wit_queries.text.fold_table import APOSTROPHE, INVISIBLE_SIGN, LETTER, MARK, TABLE_END, fold_table
from wit_queries.text.normalize import normalize

BETWEEN, INSIDE, PENDING = 0, 1, 2


@compiled
def _close(out: Bytes, word: int, pos: int) -> int:
    """The end of the word that began at `word`, without 's."""
    while pos - word > 2 and out[pos - 1] == 115 and out[pos - 2] == 39:
        pos -= 2
    return pos


@compiled
def normalize_texts(
    texts: tuple[Bytes, Offsets],
    start: tuple[int, int],
    out: Bytes,
    ends: npt.NDArray[np.int32],
    unsure: npt.NDArray[np.bool_],
    table: tuple[npt.NDArray[np.int32], Bytes, Bytes, Bytes],
) -> tuple[int, int]:
    """Normalises the texts from number start[0] on, writing from out[start[1]] on; ends[i + 1] is where text i ends.
    unsure[i] is set, and nothing written, where its plain twin must do the text. Returns where to go on with a larger
    `out`, (number of texts, bytes written) when done."""
    data, offsets = texts
    action, order, runs, plain = table
    number, pos = start
    while number < len(offsets) - 1:
        at, end = int(offsets[number]), int(offsets[number + 1])
        text = word = pos
        state = BETWEEN
        last_order = 0
        if pos + (end - at) > len(out):  # what is not folded never grows, so this is room for all but foldings
            return number, pos
        while at < end:
            byte = data[at]
            if byte < 128:  # nearly all of a caption: one look-up, and no mark before the next byte
                at += 1
                last_order = 0
                byte = plain[byte]
                if byte > 39:
                    if state != INSIDE:
                        if state == PENDING:
                            out[pos] = 39
                            pos += 1
                        else:
                            if pos > text:
                                out[pos] = 32
                                pos += 1
                            word = pos
                        state = INSIDE
                    out[pos] = byte
                    pos += 1
                elif byte == 39 and state == INSIDE:
                    state = PENDING
                elif state != BETWEEN:
                    pos = _close(out, word, pos)
                    state = BETWEEN
                continue
            code, size = decode(data, at, end)
            does = int(action[code]) if 0 <= code < TABLE_END else UNSURE
            if does == INVISIBLE_SIGN:
                at += size
                continue
            sorting = byte_at(order, code) if does != UNSURE else 0
            if does == UNSURE or (does == MARK and 0 < sorting < last_order):  # NFKC would sort these marks
                unsure[number] = True
                break
            last_order = sorting
            source, place, num_runs, num_bytes = data, at, 1, size  # it stands for itself, in one run
            if does >= 0:  # or for what it folds to, whose runs stand in the table
                source, num_runs, num_bytes = runs, byte_at(runs, does), byte_at(runs, does + 1)
                place = does + 4
                if pos + num_bytes + 1 + (end - at) > len(out):
                    return number, text
                does, num_bytes = -byte_at(runs, place - 2), byte_at(runs, place - 1)
            at += size
            while True:  # each run acts as a whole: a code point may fold to letters, an apostrophe and letters
                if does == LETTER or (does == MARK and state == INSIDE):
                    if state == PENDING:
                        out[pos] = 39
                        pos += 1
                    elif state == BETWEEN:
                        if pos > text:
                            out[pos] = 32
                            pos += 1
                        word = pos
                    state = INSIDE
                    for step in range(num_bytes):
                        out[pos + step] = source[place + step]
                    pos += num_bytes
                elif does == APOSTROPHE and state == INSIDE:
                    state = PENDING
                elif state != BETWEEN:
                    pos = _close(out, word, pos)
                    state = BETWEEN
                num_runs -= 1
                if num_runs == 0:
                    break
                place += num_bytes + 2
                does, num_bytes = -byte_at(runs, place - 2), byte_at(runs, place - 1)
        # A text for the plain twin is empty here, so that what it had begun is written over.
        pos = text if unsure[number] else _close(out, word, pos)
        number += 1
        ends[number] = pos
    return number, pos


MAX_BYTES = (1 << 31) - 1  # that the int32 offsets of a pa.StringArray can count
MAX_GROWTH = 16  # times that a text may grow by folding; U+FDFA grows 11 times


def normalize_batch(texts: pa.Array) -> pa.StringArray:
    """Element i is normalize(texts[i]), and empty for a null. `texts` holds strings or large strings, lone surrogates
    allowed. Raises TypeError for an array of another type, UnicodeDecodeError where a text is not UTF-8, ValueError
    for 2 GiB of words or more."""
    data, offsets = utf8_buffers(texts)
    ends = np.zeros(len(texts) + 1, dtype=np.int32)
    unsure = np.zeros(len(texts), dtype=np.bool_)
    out = np.empty(offsets[-1] - offsets[0], dtype=np.uint8)
    number, pos = 0, 0
    while number < len(texts):
        number, pos = normalize_texts((data, offsets), (number, pos), out, ends, unsure, fold_table().arrays)
        if pos > MAX_BYTES:
            raise ValueError(f"normalize_batch: {pos} bytes of words; give the texts in parts of less than 2 GiB")
        if number < len(texts):  # folding made texts longer
            room = len(out) // 8 + MAX_GROWTH * int(offsets[number + 1] - offsets[number])
            out = np.concatenate([out, np.empty(room, dtype=np.uint8)])
    words = string_array(out, ends)
    return _with_plain_twin(words, data, offsets, unsure) if unsure.any() else words


def _with_plain_twin(
    words: pa.StringArray, data: Bytes, offsets: Offsets, unsure: npt.NDArray[np.bool_]
) -> pa.StringArray:
    """The words with those of the `unsure` texts put in."""
    numbers = np.flatnonzero(unsure)
    texts = (bytes(data[offsets[i] : offsets[i + 1]]).decode("utf-8", "surrogatepass") for i in numbers)
    return pc.replace_with_mask(words, pa.array(unsure), pa.array(map(normalize, texts), pa.string()))
