"""The compiled loops that fill the table of match_table.py."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from wit_queries.match_slots import (
    GOES_ON,
    LONG,
    PLACE_BITS,
    STEP,
    Bits,
    Ids,
    Slots,
    cut,
    find_step,
    find_token,
    place_of,
    step_key,
)
from wit_queries.text_buffers import Bytes, Offsets


@numba.njit(cache=True, nogil=True)
def insert_queries(
    data: Bytes, offsets: Offsets, absent: npt.NDArray[np.bool_], slots: Slots, long_tokens: Bytes
) -> tuple[Ids, int, int]:
    """Puts the queries, cut at each space, into empty `slots`; those that are `absent` are left out. Returns the slot
    of each query's end (-1 of an absent one), the number of slots taken, and of bytes written to `long_tokens`."""
    room = 2
    for number in range(len(offsets) - 1):
        room = max(room, offsets[number + 1] - offsets[number] + 2)
    cuts = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    keys, starts, ends = cuts
    reached = np.full(len(offsets) - 1, -1, np.int32)
    taken, pos = 0, 0
    for number in range(len(offsets) - 1):
        node = -1
        count = 0 if absent[number] else cut(data, offsets[number], offsets[number + 1], slots, cuts, 0) - 1
        for k in range(count):
            token = find_token(slots, long_tokens, keys[k], data, starts[k], ends[k])
            if token < 0:
                token = -1 - token
                slots[2 * token] = keys[k]
                taken += 1
                if keys[k] >= LONG:
                    slots[2 * token + 1] = pos << PLACE_BITS
                    pos = _append(long_tokens, pos, data, starts[k], ends[k])
            if node < 0:
                node = token
                continue
            parent = node
            slots[2 * parent + 1] |= GOES_ON
            node = find_step(slots, parent, token)
            if node < 0:
                node = -1 - node
                slots[2 * node] = step_key(parent, token)
                taken += 1
        reached[number] = node
    return reached, taken, pos


@numba.njit(cache=True, nogil=True)
def _append(long_tokens: Bytes, pos: int, data: Bytes, start: int, end: int) -> int:
    """Writes a token with its number of bytes, four bytes, before it; returns the place behind."""
    for step in range(4):
        long_tokens[pos + step] = ((end - start) >> (8 * step)) & 255
    for step in range(end - start):
        long_tokens[pos + 4 + step] = data[start + step]
    return pos + 4 + end - start


@numba.njit(cache=True, nogil=True)
def fill_filter(slots: Slots, step_filter: Bits) -> None:
    """Sets the bit of each step."""
    for slot in range(len(slots) >> 1):
        key = slots[2 * slot]
        if key >= STEP:
            bit = place_of(key, len(step_filter) << 6)
            step_filter[bit >> 6] |= 1 << (bit & 63)
