"""How MetaCLIP cuts a caption before it looks for entries in it, compiled."""

from __future__ import annotations

import numba
import numpy as np
import pyarrow as pa

from wit_queries.text_buffers import Bytes, Offsets, utf8_buffers

PUNCTUATION = ",.;:?!`"
WHITE_SPACE = "\t\n\r"
_SPACED, _SPACE = 1, 2
_KINDS = np.zeros(256, dtype=np.uint8)
_KINDS[list(PUNCTUATION.encode())] = _SPACED
_KINDS[list(WHITE_SPACE.encode())] = _SPACE


def spaced_batch(captions: pa.Array) -> tuple[Bytes, Offsets]:
    """The captions with a space before and after each of , . ; : ? ! ` and with a space for each tab, line feed and
    carriage return; nothing else is changed. Bytes and places between the captions."""
    data, offsets = utf8_buffers(captions)
    return _spaced(data, offsets, _KINDS)


@numba.njit(cache=True, nogil=True)
def _spaced(data: Bytes, offsets: Offsets, kinds: Bytes) -> tuple[Bytes, Offsets]:
    num_bytes = 0
    for at in range(offsets[0], offsets[-1]):
        num_bytes += 3 if kinds[data[at]] == _SPACED else 1
    out = np.empty(num_bytes, dtype=np.uint8)
    places = np.zeros(len(offsets), dtype=np.int64)
    pos = 0
    for number in range(len(offsets) - 1):
        for at in range(offsets[number], offsets[number + 1]):
            kind = kinds[data[at]]
            if kind == 0:
                out[pos] = data[at]
                pos += 1
            elif kind == _SPACE:
                out[pos] = 32
                pos += 1
            else:
                out[pos], out[pos + 1], out[pos + 2] = 32, data[at], 32
                pos += 3
        places[number + 1] = pos
    return out, places
