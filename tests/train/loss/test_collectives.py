"""The agreement of ranks on the shape of their features, on real processes."""

from __future__ import annotations

import torch
import torch.distributed as dist

from helpers.ranks import run_ranks
from train.loss import collectives

# The first numbers of rows of each rank, call by call. None is what a rank is told that may go on.
CALLS = [(4, 4, 4), (4, 4, 4), (5, 4, 4), (4, 4, 4), (6, 6, 6), (4, 4, 6), (6, 6, 6)]


def answers(wait_always: bool) -> list[str | None]:
    """What `_agree` says to this rank at each of the calls."""
    group = dist.distributed_c10d._get_default_group()
    said: list[str | None] = []
    for rows in CALLS:
        try:
            collectives._agree(torch.zeros(rows[dist.get_rank()], 8), group, wait_always)
            said.append(None)
        except ValueError as error:
            said.append(str(error))
    return said


def both_ways() -> tuple[list[str | None], list[str | None]]:
    waiting = answers(wait_always=True)
    collectives._AGREED.clear()
    return waiting, answers(wait_always=False)


def test_uneven_rows_are_refused_on_all_ranks_or_without_waiting_on_those_that_changed() -> None:
    first, second, third = run_ranks(both_ways, 3)
    uneven = "features of shapes {} on ranks 0 to 2: each rank must bring the same"
    one, two = uneven.format([[5, 8], [4, 8], [4, 8]]), uneven.format([[4, 8], [4, 8], [6, 8]])
    for waiting, _ in (first, second, third):
        assert waiting == [None, None, one, None, None, two, None]
    assert first[1] == [None, None, one, None, None, two, None]
    assert second[1] == [None, None, None, None, None, two, None]
    assert third[1] == [None, None, None, None, None, None, None]
