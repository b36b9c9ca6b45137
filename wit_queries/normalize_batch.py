"""normalize() for whole Arrow arrays, compiled; any text that the tables do not cover goes to the definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from wit_queries.fold_table import fold_table
from wit_queries.normalize import normalize
from wit_queries.normalize_kernel import normalize_texts
from wit_queries.text_buffers import Bytes, Offsets, utf8_buffers

MOST_BYTES = (1 << 31) - 1  # that the int32 offsets of a pa.StringArray can count
MOST_GROWTH = 16  # times that a text may grow by folding; U+FDFA grows 11 times


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
        if pos > MOST_BYTES:
            raise ValueError(f"normalize_batch: {pos} bytes of words; give the texts in parts of less than 2 GiB")
        if number < len(texts):  # folding made texts longer
            room = len(out) // 8 + MOST_GROWTH * int(offsets[number + 1] - offsets[number])
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
