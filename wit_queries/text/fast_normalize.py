"""The compiled loop of normalize_batch: UTF-8 in, the normalised words in UTF-8 out.

Legend: `at` is a place in the texts, `pos` a place in the output. A state is BETWEEN words, INSIDE a word, or
PENDING: inside a word, behind an apostrophe that is part of it only if a letter follows.

normalize() for whole Arrow arrays, compiled; any text that the tables do not cover goes to the definition.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from openwit.kernels.buffers import Bytes, Offsets, utf8_buffers
from wit_queries.text.fold_table import APOSTROPHE, INVISIBLE_SIGN, LETTER, MARK, TABLE_END, UNSAFE, fold_table
from wit_queries.text.normalize import normalize

BETWEEN, INSIDE, PENDING = 0, 1, 2
BAD_UTF8 = -1


@numba.njit(cache=True, nogil=True)
def byte_at(data: Bytes, at: int) -> int:
    """The byte as a signed number: numba makes floats of signed and unsigned."""
    return int(np.int64(data[at]))


@numba.njit(cache=True, nogil=True)
def _close(out: Bytes, word: int, pos: int) -> int:
    """The end of the word that began at `word`, without 's."""
    while pos - word > 2 and out[pos - 1] == 115 and out[pos - 2] == 39:
        pos -= 2
    return pos


@numba.njit(cache=True, nogil=True)
def _decode(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The code point at `at`, which is not ASCII, and its number of bytes; BAD_UTF8 where there is none."""
    lead = byte_at(data, at)
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if lead < 0xC2 or lead > 0xF4 or at + size > end:
        return BAD_UTF8, 1
    code = lead & (0x7F >> size)
    for step in range(1, size):
        byte = byte_at(data, at + step)
        if byte & 0xC0 != 0x80:
            return BAD_UTF8, 1
        code = code << 6 | byte & 0x3F
    if (size == 3 and code < 0x800) or (size == 4 and code < 0x10000):
        return BAD_UTF8, 1
    return code, size


@numba.njit(cache=True, nogil=True)
def normalize_texts(
    texts: tuple[Bytes, Offsets],
    start: tuple[int, int],
    out: Bytes,
    ends: npt.NDArray[np.int32],
    unsafe: npt.NDArray[np.bool_],
    table: tuple[npt.NDArray[np.int32], Bytes, Bytes, Bytes],
) -> tuple[int, int]:
    """Normalises the texts from number start[0] on, writing from out[start[1]] on; ends[i + 1] is where text i ends.
    unsafe[i] is set, and nothing written, where the definition must do the text. Returns where to go on with a larger
    `out`, (number of texts, bytes written) when done."""
    data, offsets = texts
    action, order, runs, plain = table
    number, pos = start
    while number < len(offsets) - 1:
        at, end = int(offsets[number]), int(offsets[number + 1])
        text = word = pos
        state = BETWEEN
        last_order = 0
        if pos + (end - at) > len(out):
            return number, pos
        while at < end:
            byte = data[at]
            if byte < 128:  # the common case, by itself
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
            code, size = _decode(data, at, end)
            does = int(action[code]) if 0 <= code < TABLE_END else UNSAFE
            if does == INVISIBLE_SIGN:
                at += size
                continue
            sorting = byte_at(order, code) if does != UNSAFE else 0
            if does == UNSAFE or (does == MARK and 0 < sorting < last_order):
                unsafe[number] = True
                break
            last_order = sorting
            source, place, num_runs, num_bytes = data, at, 1, size
            if does >= 0:
                source, num_runs, num_bytes = runs, byte_at(runs, does), byte_at(runs, does + 1)
                place = does + 4
                if pos + num_bytes + 1 + (end - at) > len(out):
                    return number, text
                does, num_bytes = -byte_at(runs, place - 2), byte_at(runs, place - 1)
            at += size
            while True:
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
        pos = text if unsafe[number] else _close(out, word, pos)
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
    unsafe = np.zeros(len(texts), dtype=np.bool_)
    out = np.empty(offsets[-1] - offsets[0], dtype=np.uint8)
    number, pos = 0, 0
    while number < len(texts):
        number, pos = normalize_texts((data, offsets), (number, pos), out, ends, unsafe, fold_table().arrays)
        if pos > MAX_BYTES:
            raise ValueError(f"normalize_batch: {pos} bytes of words; give the texts in parts of less than 2 GiB")
        if number < len(texts):  # folding made texts longer
            room = len(out) // 8 + MAX_GROWTH * int(offsets[number + 1] - offsets[number])
            out = np.concatenate([out, np.empty(room, dtype=np.uint8)])
    words = pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out[:pos]))
    return _with_definition(words, data, offsets, unsafe) if unsafe.any() else words


def _with_definition(
    words: pa.StringArray, data: Bytes, offsets: Offsets, unsafe: npt.NDArray[np.bool_]
) -> pa.StringArray:
    """The words with those of the `unsafe` texts put in."""
    numbers = np.flatnonzero(unsafe)
    texts = (bytes(data[offsets[i] : offsets[i + 1]]).decode("utf-8", "surrogatepass") for i in numbers)
    return pc.replace_with_mask(words, pa.array(unsafe), pa.array(map(normalize, texts), pa.string()))
