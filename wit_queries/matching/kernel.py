"""The compiled loops that find queries in captions.

What costs time is waiting for memory and branches that are guessed wrong. So many texts are looked up together, in
loops that each do one thing, and what may or may not be found is written always and kept by moving on or not.
"""

from __future__ import annotations

import numpy as np

from openwit.kernels.buffers import Bytes, Offsets, prefetch
from openwit.kernels.compiled import compiled
from wit_queries.matching.slots import (
    GOES_ON,
    QUERIES,
    SEVERAL,
    Bits,
    Ids,
    Slots,
    cut,
    find_step,
    find_token,
    place_of,
    step_key,
)

Table = tuple[Slots, Bits, Ids, Bytes]  # slots, filter of steps, lists, long tokens

BLOCK = 64  # texts that are looked up together
FULL = -1
DIGIT_BITS = 11  # of an id that are sorted by at a time
DIGIT = (1 << DIGIT_BITS) - 1


@compiled
def match_tokens(data: Bytes, offsets: Offsets, first: int, table: Table, ids: Ids, places: Offsets) -> int:
    """Finds the queries in the texts from number `first` on, cut at each space. Those of text i are written in any
    order, some more than once, to ids[places[i]:places[i + 1]]. Returns where to go on with larger `ids`, the number
    of texts when done."""
    slots, step_filter, _, long_tokens = table
    room = offsets[-1] - offsets[first] + 2 * len(offsets)  # most of it is never touched
    nodes, values = np.empty(room, np.int64), np.empty(room, np.int64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    last = np.zeros(BLOCK + 1, np.int64)
    for block in range(first, len(offsets) - 1, BLOCK):
        num_texts = min(BLOCK, len(offsets) - 1 - block)
        for text in range(num_texts):
            start, end = offsets[block + text], offsets[block + text + 1]
            last[text + 1] = cut(data, start, end, slots, (nodes, starts, ends), last[text])
        # Only now, when all of a block's slots have been asked for by `cut`, is the first one waited for.
        for k in range(last[num_texts]):
            nodes[k] = find_token(slots, long_tokens, nodes[k], data, starts[k], ends[k])
            values[k] = slots[2 * nodes[k] + 1] if nodes[k] >= 0 else 0
        tokens, steps = starts, ends  # what they were is no longer needed
        _find_steps(slots, step_filter, nodes[: last[num_texts]], tokens, steps)
        done = _collect(table, (nodes, values, tokens, steps), last[: num_texts + 1], ids, places[block:])
        if done < num_texts:
            return block + done
    return len(offsets) - 1


@compiled
def _find_steps(slots: Slots, step_filter: Bits, nodes: Slots, tokens: Slots, steps: Slots) -> None:
    """Writes to `tokens` those from which a step by the next one may lead on, closed by the number of all, and to
    `steps` the slots that these lead to, below 0 where there is none."""
    num_bits = len(step_filter) << 6
    num_steps = 0
    # Few pairs of words begin a query: one bit says so without a look-up, and no branch is guessed wrong.
    for k in range(len(nodes) - 1):
        bit = place_of(step_key(nodes[k], nodes[k + 1]), num_bits)
        tokens[num_steps] = k
        num_steps += (step_filter[bit >> 6] >> (bit & 63)) & 1 & ~(nodes[k] >> 63) & ~(nodes[k + 1] >> 63)
    for i in range(num_steps):
        prefetch(slots, 2 * place_of(step_key(nodes[tokens[i]], nodes[tokens[i] + 1]), len(slots) >> 1))
    for i in range(num_steps):
        steps[i] = find_step(slots, nodes[tokens[i]], nodes[tokens[i] + 1])
    tokens[num_steps] = len(nodes)


@compiled
def _collect(table: Table, found: tuple[Slots, Slots, Slots, Slots], last: Offsets, ids: Ids, places: Offsets) -> int:
    """Writes the queries of a block's texts; returns the number of texts for which `ids` had room."""
    slots, _, lists, _ = table
    nodes, values, tokens, steps = found
    i = 0
    for text in range(len(last) - 1):
        pos = places[text]
        spare = len(ids) - 2 * (last[text + 1] - last[text])  # up to here each token and step may write a query
        if pos > spare:
            return text
        for k in range(last[text], last[text + 1]):
            query = values[k] & QUERIES
            ids[pos] = query - 1
            pos += query != 0
            if query & SEVERAL:
                pos = _add_list(lists, query ^ SEVERAL, ids, pos - 1, spare)
                if pos == FULL:
                    return text
        while tokens[i] < last[text + 1]:
            node, behind = steps[i], tokens[i] + 2
            while node >= 0:
                value = slots[2 * node + 1]
                query = value & QUERIES
                ids[pos] = query - 1
                pos += query != 0
                if query & SEVERAL:
                    pos = _add_list(lists, query ^ SEVERAL, ids, pos - 1, spare)
                if pos == FULL or pos > spare:
                    return text
                goes_on = value & GOES_ON and nodes[behind] >= 0
                node = find_step(slots, node, nodes[behind]) if goes_on else -1
                behind += 1
            i += 1
        places[text + 1] = pos
    return len(last) - 1


@compiled
def _add_list(lists: Ids, place: int, ids: Ids, pos: int, spare: int) -> int:
    """Writes the ids of queries that have the same words; returns the place behind them, or FULL."""
    size = int(lists[place])
    if pos + size > spare:
        return FULL
    for k in range(size):
        ids[pos + k] = lists[place + 1 + k]
    return pos + size


@compiled
def sort_each(ids: Ids, places: Offsets, num_queries: int) -> Ids:
    """The ids of each text ascending and each once; `places` is changed to theirs. A radix sort of all together, by
    id and then by text: it takes the same time for any ids."""
    total = places[-1]
    pairs, sorted_pairs = np.empty(total, np.int64), np.empty(total, np.int64)  # text, id
    for text in range(len(places) - 1):
        for k in range(places[text], places[text + 1]):
            pairs[k] = text << 32 | ids[k]
    for shift in range(0, 32, DIGIT_BITS):  # the lowest digit first, each pass stable
        if num_queries >> shift == 0:
            break
        ends = np.zeros((1 << DIGIT_BITS) + 1, np.int64)
        for k in range(total):
            ends[(pairs[k] >> shift & DIGIT) + 1] += 1
        ends = np.cumsum(ends)
        for k in range(total):
            digit = pairs[k] >> shift & DIGIT
            sorted_pairs[ends[digit]] = pairs[k]
            ends[digit] += 1
        pairs, sorted_pairs = sorted_pairs, pairs
    ends = places[:-1].copy()  # where each text's ids go: sorted by id, they stay so within their text
    for k in range(total):
        text = pairs[k] >> 32
        sorted_pairs[ends[text]] = pairs[k]
        ends[text] += 1
    kept, before = 0, -1
    out = np.empty(total, np.int32)
    for text in range(len(places) - 1):
        start, end = places[text], places[text + 1]
        places[text] = kept
        for k in range(start, end):
            out[kept] = sorted_pairs[k]
            kept += sorted_pairs[k] != before
            before = sorted_pairs[k]
    places[-1] = kept
    return out[:kept]
