"""UTF-8 in compiled loops: one code point read or written."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from openwit.kernels.buffers import Bytes
from openwit.kernels.compiled import compiled, inlined

BAD_UTF8 = -1
Whole: TypeAlias = int | np.int64


@compiled
def byte_at(data: Bytes, at: int) -> int:
    """The byte as a signed number: numba makes floats of signed and unsigned."""
    return int(np.int64(data[at]))


@inlined
def decode(data: Bytes, at: Whole, end: Whole) -> tuple[int, int]:
    """The code point at `at` and its number of bytes; BAD_UTF8 and 1 where none of a well-formed text ends before
    `end`: cut, longer than it need be, a surrogate, or above U+10FFFF."""
    lead = int(np.int64(data[at]))
    if lead < 0x80:
        return lead, 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if lead < 0xC2 or lead > 0xF4 or at + size > end:
        return BAD_UTF8, 1
    code = lead & (0x7F >> size)
    for step in range(1, size):  # what a lead byte announces, so that no later byte is read as a lead
        byte = int(np.int64(data[at + step]))
        if byte & 0xC0 != 0x80:
            return BAD_UTF8, 1
        code = code << 6 | byte & 0x3F
    if size == 3 and (code < 0x800 or 0xD800 <= code < 0xE000):
        return BAD_UTF8, 1
    if size == 4 and (code < 0x10000 or code > 0x10FFFF):
        return BAD_UTF8, 1
    return code, size


@compiled
def encode(out: Bytes, size: int, code: Whole) -> int:
    """Appends the code point to out[:size]; returns the new size."""
    if code < 0x80:
        out[size] = code
        return size + 1
    num_more = 1 if code < 0x800 else 2 if code < 0x10000 else 3
    out[size] = (0xFF00 >> num_more + 1) & 0xFF | code >> 6 * num_more
    for step in range(num_more):
        out[size + 1 + step] = 0x80 | (code >> 6 * (num_more - 1 - step)) & 0x3F
    return size + 1 + num_more
