"""The cap's compiled loops: the key of each match, and what follows from it.

A match is a distinct pair (its uid as two integers) with one of its queries. Its key is 64 bits, a pure function of
seed, uid and query. Pairs come as arrays: `high` and `low` halves of their uids, and their queries, from
`offsets[row]` up to `offsets[row + 1]` in `query_ids`. What is known of a query stands in arrays at its id. These are
read at random, so the loops look first at the upper 32 bits of keys: half the table, twice the speed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openwit.kernels.compiled import compiled
from openwit.kernels.hashing import GOLDEN, U64, mix

U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
PairArrays = tuple[U64, U64, I32, I32]  # high, low, offsets, query_ids

MAX_KEY = 2**64 - 1
UPPER_BITS = 32
_UPPER = np.uint64(UPPER_BITS)


@compiled
def match_keys(seed: np.uint64, high: U64, low: U64, query_ids: I32) -> U64:
    """The keys of the matches of (high[i], low[i]) with query_ids[i]."""
    start = mix(seed + GOLDEN)
    keys = np.empty(len(query_ids), np.uint64)
    for i in range(len(query_ids)):
        keys[i] = mix(mix(mix(high[i] ^ start) ^ low[i]) ^ mix(np.uint64(np.uint32(query_ids[i])) + start))
    return keys


@compiled
def count_matches(query_ids: I32, matches: I32) -> None:
    """Adds each query's number of matches to matches[query]."""
    for i in range(len(query_ids)):
        matches[np.uint32(query_ids[i])] += 1


@compiled
def mark_bracketed(seed: np.uint64, pairs: PairArrays, brackets: tuple[U32, U32], below: I32, inside: Flags) -> None:
    """Sets inside[i] of the matches whose key lies in their query's bracket, and adds the number of those under it to
    below[query]. The upper bits of its keys run from brackets[0][query] to brackets[1][query], both included."""
    high, low, offsets, query_ids = pairs
    first, last = brackets
    start = mix(seed + GOLDEN)
    for row in range(len(high)):
        pair = mix(mix(high[row] ^ start) ^ low[row])  # once a pair, for all of its queries
        for i in range(np.uint32(offsets[row]), np.uint32(offsets[row + 1])):
            query = np.uint32(query_ids[i])
            upper = np.uint32(mix(pair ^ mix(np.uint64(query) + start)) >> _UPPER)
            if upper <= last[query]:
                if upper < first[query]:
                    below[query] += 1
                else:
                    inside[i] = True


@compiled
def mark_selected(
    seed: np.uint64, pairs: PairArrays, last_upper: U32, last: tuple[U64, U64, U64], chosen: Flags, number: I32
) -> None:
    """Sets chosen[i] of the matches that their query selects, and number[row] to how many queries select the pair.
    Query q selects up to the key last[0][q] (last_upper: its upper bits); of equal keys, up to the uid last[1][q],
    last[2][q]."""
    high, low, offsets, query_ids = pairs
    kth_key, kth_high, kth_low = last
    start = mix(seed + GOLDEN)
    for row in range(len(high)):
        pair = mix(mix(high[row] ^ start) ^ low[row])
        times = 0
        for i in range(np.uint32(offsets[row]), np.uint32(offsets[row + 1])):
            query = np.uint32(query_ids[i])
            key = mix(pair ^ mix(np.uint64(query) + start))
            upper = np.uint32(key >> _UPPER)
            taken = upper < last_upper[query]
            if upper == last_upper[query]:  # one in four billion
                taken = key < kth_key[query]
                if key == kth_key[query]:
                    most = kth_high[query]
                    taken = high[row] < most or (high[row] == most and low[row] <= kth_low[query])
            chosen[i] = taken
            times += taken
        number[row] = times
