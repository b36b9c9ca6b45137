"""Which patches of its pictures a step sees: a random subset, by counters (Li et al. 2022, FLIP, arXiv 2212.00794).

Shapes: B pictures · P patches of one · K kept of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

STEP = np.uint64(0x9E3779B97F4A7C15)  # of splitmix64 (Steele et al. 2014), as are the two multipliers
MULTIPLIERS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def number_kept(num_patches: int, dropped: float) -> int:
    """How many patches of a picture a step sees if that share is dropped; at least one."""
    return max(1, round((1 - dropped) * num_patches))


def kept_patches(seeds: Sequence[int], num_patches: int, num_kept: int) -> npt.NDArray[np.int64]:
    """[B, K], rising in each row: the patches whose numbers are the lowest of P that a picture's seed of 64 bits alone
    draws."""
    drawn_BP = splitmix64(np.array(seeds, np.uint64)[:, None], num_patches)
    return np.sort(np.argpartition(drawn_BP, num_kept - 1, axis=1)[:, :num_kept], axis=1)


def splitmix64(seed: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.uint64]:
    """[…, length]: the first numbers of the generator for seeds […, 1]."""
    state = seed + STEP * np.arange(1, length + 1, dtype=np.uint64)
    for shift, multiplier in MULTIPLIERS:
        state = (state ^ (state >> shift)) * multiplier
    numbers: npt.NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return numbers
