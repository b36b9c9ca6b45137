from __future__ import annotations

import numba
import numpy as np

from wit_queries.prefetch import prefetch


@numba.njit
def total(numbers: np.ndarray) -> int:
    found = 0
    for index in range(len(numbers)):
        prefetch(numbers, len(numbers) - 1 - index)
        found += numbers[index]
    return found


def test_asking_for_memory_changes_nothing() -> None:
    numbers = np.arange(1000)
    assert total(numbers) == 499_500
    assert numbers.tolist() == list(range(1000))
    assert "prefetch" in next(iter(total.inspect_asm().values()))
