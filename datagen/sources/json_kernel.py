"""Strings of JSON text read in place: where one begins or ends, and what it says, in UTF-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openwit.kernels.buffers import Bytes
from openwit.kernels.compiled import compiled
from openwit.kernels.utf8 import encode

QUOTE, BACKSLASH = 0x22, 0x5C
_HIGH, _LOW, _NO_SURROGATE, _PLANE_1 = 0xD800, 0xDC00, 0xE000, 0x10000


def _short_escapes() -> npt.NDArray[np.int16]:
    """What stands for a backslash and a letter; -1 for no such escape."""
    table = np.full(256, -1, dtype=np.int16)
    for letter, meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
        table[letter] = meaning
    return table


_ESCAPES = _short_escapes()


@compiled
def string_start(data: Bytes, pos: int, begin: int) -> int:
    """The opening quote of the string whose closing quote is at `pos`, or -1."""
    if pos <= begin or data[pos] != QUOTE:
        return -1
    for i in range(pos - 1, begin - 1, -1):
        if data[i] == QUOTE and not _is_escaped(data, i, begin):
            return i
    return -1


@compiled
def string_end(data: Bytes, pos: int, end: int) -> int:
    """The closing quote of the string whose opening quote is at `pos`, or -1."""
    if pos >= end or data[pos] != QUOTE:
        return -1
    rest = data[pos + 1 : end]  # from 0, or the compiler provides for negative places
    for i in range(len(rest)):  # not by jumps over escapes: a step would have to wait for the byte before
        if rest[i] == QUOTE and not _is_escaped(rest, i, 0):
            return pos + 1 + i
        if rest[i] < 0x20:
            return -1
    return -1


@compiled
def _is_escaped(data: Bytes, pos: int, begin: int) -> bool:
    """Whether an odd number of backslashes stands before it."""
    first = pos
    while first > begin and data[first - 1] == BACKSLASH:
        first -= 1
    return (pos - first) % 2 == 1


@compiled
def unescape(data: Bytes, pos: int, end: int, out: Bytes, size: int) -> int:
    """Appends the string data[pos:end] to out[:size]; returns the new size, or -1 for an escape that means nothing."""
    while pos < end:
        byte = data[pos]
        pos += 1
        if byte != BACKSLASH:
            out[size] = byte
            size += 1
        elif pos == end:
            return -1
        elif data[pos] != 0x75:  # u
            meaning = _ESCAPES[data[pos]]
            if meaning < 0:
                return -1
            out[size] = meaning
            size += 1
            pos += 1
        else:
            code = _hex4(data, pos + 1, end)
            pos += 5
            if _HIGH <= code < _LOW and pos + 6 <= end and data[pos] == BACKSLASH and data[pos + 1] == 0x75:
                low = _hex4(data, pos + 2, end)
                if _LOW <= low < _NO_SURROGATE:
                    code = _PLANE_1 + ((code - _HIGH) << 10) + (low - _LOW)
                    pos += 6
            if code < 0 or _HIGH <= code < _NO_SURROGATE:
                return -1
            size = encode(out, size, code)
    return size


@compiled
def _hex4(data: Bytes, pos: int, end: int) -> int:
    """The number in four hexadecimal digits, or -1."""
    if pos + 4 > end:
        return -1
    number = 0
    for i in range(pos, pos + 4):
        byte = data[i]
        if 0x30 <= byte <= 0x39:
            number = number * 16 + byte - 0x30
        elif 0x41 <= byte <= 0x46 or 0x61 <= byte <= 0x66:
            number = number * 16 + (byte & 0x0F) + 9
        else:
            return -1
    return number
