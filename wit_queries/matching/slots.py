"""Compiled look-ups in the table of match_table.py, which says what it holds.

The compiled loops that fill the table of match_table.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openwit.kernels.buffers import Bytes, Offsets, prefetch
from openwit.kernels.compiled import compiled
from openwit.kernels.utf8 import byte_at

Slots = npt.NDArray[np.int64]  # two numbers a slot: key, value
Bits = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]

# Keys. A token of up to SHORT_BYTES is its own: its bytes, and 1 + their number as the highest byte.
SHORT_BYTES = 7
LONG, STEP = 9 << 56, 10 << 56  # the highest byte for a longer token, with its hash; for a step, with node and token
LOW_56 = (1 << 56) - 1
NODE_BITS = 28
NO_TOKEN = 0  # stands behind the tokens of a text, and is never found

# Values. The queries that end here (0: none, id + 1, or SEVERAL | their place in `lists`), whether the node GOES_ON to
# others, and the place of a long token in `long_tokens`.
QUERIES, SEVERAL, GOES_ON, PLACE_BITS = (1 << 32) - 1, 1 << 31, 1 << 32, 33

MULTIPLIER = -7046029254386353131  # the golden ratio's 64 bits, odd


@compiled
def place_of(key: int, size: int) -> int:
    """A place below `size` for a key, evenly spread."""
    mixed = (key ^ (key >> 29)) * MULTIPLIER
    mixed = (mixed ^ ((mixed >> 32) & 0xFFFFFFFF)) * MULTIPLIER
    return (((mixed >> 32) & 0xFFFFFFFF) * size) >> 32


@compiled
def step_key(node: int, token: int) -> int:
    """The key of the step from a node by a token, both given by their slots."""
    return STEP | (node << NODE_BITS) | token


@compiled
def _is_long_token(long_tokens: Bytes, place: int, data: Bytes, start: int, end: int) -> bool:
    size = 0
    for step in range(4):
        size |= byte_at(long_tokens, place + step) << (8 * step)
    if size != end - start:
        return False
    same = 0
    while same < size and long_tokens[place + 4 + same] == data[start + same]:
        same += 1
    return same == size


@compiled
def find_token(slots: Slots, long_tokens: Bytes, key: int, data: Bytes, start: int, end: int) -> int:
    """The slot of a token, or -1 - the free slot where it would stand."""
    num_slots = len(slots) >> 1
    slot = place_of(key, num_slots)
    while slots[2 * slot] != 0:  # ends: the table is never full
        if slots[2 * slot] == key and (
            key < LONG or _is_long_token(long_tokens, slots[2 * slot + 1] >> PLACE_BITS, data, start, end)
        ):
            return slot
        slot = slot + 1 if slot + 1 < num_slots else 0
    return -1 - slot


@compiled
def find_step(slots: Slots, node: int, token: int) -> int:
    """The slot that a step leads to, or -1 - the free slot where it would stand."""
    num_slots = len(slots) >> 1
    key = step_key(node, token)
    slot = place_of(key, num_slots)
    while slots[2 * slot] != 0:
        if slots[2 * slot] == key:
            return slot
        slot = slot + 1 if slot + 1 < num_slots else 0
    return -1 - slot


@compiled
def cut(data: Bytes, at: int, end: int, slots: Slots, cuts: tuple[Slots, Offsets, Offsets], count: int) -> int:
    """Cuts data[at:end] at each space, and from place `count` on writes to `cuts` the key, start and end of each token,
    and NO_TOKEN behind the last; returns the place behind that. Asks for the memory where the tokens will be looked
    for."""
    keys, starts, ends = cuts
    start, key = at, 0
    while True:
        byte = byte_at(data, at) if at < end else 32
        if byte == 32:
            size = at - start
            keys[count] = key | (size + 1) << 56 if size <= SHORT_BYTES else LONG | (key & LOW_56)
            starts[count], ends[count] = start, at
            prefetch(slots, 2 * place_of(keys[count], len(slots) >> 1))
            count += 1
            if at == end:
                break
            start, key = at + 1, 0
        elif at - start < SHORT_BYTES:
            key |= byte << (8 * (at - start))
        else:
            key = (key ^ (key >> 23)) * MULTIPLIER + byte
        at += 1
    keys[count] = NO_TOKEN
    return count + 1


@compiled
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
        for k in range(count):  # a query is a way from its first token by a step for each next one
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


@compiled
def _append(long_tokens: Bytes, pos: int, data: Bytes, start: int, end: int) -> int:
    """Writes a token with its number of bytes, four bytes, before it; returns the place behind."""
    for step in range(4):
        long_tokens[pos + step] = ((end - start) >> (8 * step)) & 255
    for step in range(end - start):
        long_tokens[pos + 4 + step] = data[start + step]
    return pos + 4 + end - start


@compiled
def fill_filter(slots: Slots, step_filter: Bits) -> None:
    """Sets the bit of each step."""
    for slot in range(len(slots) >> 1):
        key = slots[2 * slot]
        if key >= STEP:
            bit = place_of(key, len(step_filter) << 6)
            step_filter[bit >> 6] |= 1 << (bit & 63)
