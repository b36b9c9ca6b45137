"""The cap's compiled loops: the key of each match, and what follows from it.

A match is a distinct pair (its uid as two integers) with one of its queries. Its key is 64 bits, a pure function of
seed, uid and query. Pairs come as arrays: `high` and `low` halves of their uids, and their queries, from
`offsets[row]` up to `offsets[row + 1]` in `query_ids`. What is known of a query stands in arrays at its id. These are
read at random, so the loops look first at the upper 32 bits of keys: half the table, twice the speed.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
PairArrays = tuple[U64, U64, I32, I32]  # high, low, offsets, query_ids

LAST_KEY = 2**64 - 1
UPPER_BITS = 32
_UPPER = np.uint64(UPPER_BITS)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(x: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> _S30)) * _FIRST
    x = (x ^ (x >> _S27)) * _SECOND
    return x ^ (x >> _S31)


@numba.njit(cache=True, nogil=True)
def match_keys(seed: np.uint64, high: U64, low: U64, query_ids: I32) -> U64:
    """The keys of the matches of (high[i], low[i]) with query_ids[i]."""
    start = _mix(seed + _GOLDEN)
    keys = np.empty(len(query_ids), np.uint64)
    for i in range(len(query_ids)):
        keys[i] = _mix(_mix(_mix(high[i] ^ start) ^ low[i]) ^ _mix(np.uint64(np.uint32(query_ids[i])) + start))
    return keys


@numba.njit(cache=True, nogil=True)
def count_matches(query_ids: I32, matches: I32) -> None:
    """Adds each query's number of matches to matches[query]."""
    for i in range(len(query_ids)):
        matches[np.uint32(query_ids[i])] += 1


@numba.njit(cache=True, nogil=True)
def mark_windows(seed: np.uint64, pairs: PairArrays, windows: tuple[U32, U32], below: I32, inside: Flags) -> None:
    """Sets inside[i] of the matches whose key lies in their query's window, and adds the number of those under it to
    below[query]. The upper bits of its keys run from windows[0][query] to windows[1][query], both included."""
    high, low, offsets, query_ids = pairs
    first, last = windows
    start = _mix(seed + _GOLDEN)
    for row in range(len(high)):
        pair = _mix(_mix(high[row] ^ start) ^ low[row])
        for i in range(np.uint32(offsets[row]), np.uint32(offsets[row + 1])):
            query = np.uint32(query_ids[i])
            upper = np.uint32(_mix(pair ^ _mix(np.uint64(query) + start)) >> _UPPER)
            if upper <= last[query]:
                if upper < first[query]:
                    below[query] += 1
                else:
                    inside[i] = True


@numba.njit(cache=True, nogil=True)
def mark_selected(
    seed: np.uint64, pairs: PairArrays, last_upper: U32, last: tuple[U64, U64, U64], chosen: Flags, number: I32
) -> None:
    """Sets chosen[i] of the matches that their query selects, and number[row] to how many queries select the pair.
    Query q selects up to the key last[0][q] (last_upper: its upper bits); of equal keys, up to the uid last[1][q],
    last[2][q]."""
    high, low, offsets, query_ids = pairs
    last_key, last_high, last_low = last
    start = _mix(seed + _GOLDEN)
    for row in range(len(high)):
        pair = _mix(_mix(high[row] ^ start) ^ low[row])
        times = 0
        for i in range(np.uint32(offsets[row]), np.uint32(offsets[row + 1])):
            query = np.uint32(query_ids[i])
            key = _mix(pair ^ _mix(np.uint64(query) + start))
            upper = np.uint32(key >> _UPPER)
            taken = upper < last_upper[query]
            if upper == last_upper[query]:  # one in four billion
                taken = key < last_key[query]
                if key == last_key[query]:
                    most = last_high[query]
                    taken = high[row] < most or (high[row] == most and low[row] <= last_low[query])
            chosen[i] = taken
            times += taken
        number[row] = times
