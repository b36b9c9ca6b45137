"""The runner itself: what it promises to tests that stand on it."""

from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist

from helpers.ranks import RankError, run_ranks


def sum_of_ranks(factor: float) -> tuple[int, float]:
    total = torch.tensor(float(dist.get_rank())) * factor
    dist.all_reduce(total)
    return dist.get_rank(), total.item()


def fail_on_rank_1() -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("a reason worth reading")
    time.sleep(60)


def sleep() -> None:
    time.sleep(60)


def test_results_come_back_in_the_order_of_ranks() -> None:
    assert run_ranks(sum_of_ranks, 2, 10.0) == [(0, 10.0), (1, 10.0)]


def test_a_failing_rank_ends_the_run_with_its_reason() -> None:
    with pytest.raises(RankError, match=r"rank 1 of 2 (.|\n)*a reason worth reading"):
        run_ranks(fail_on_rank_1, 2, join_group=False)


def test_a_hanging_rank_is_stopped_at_the_time_out() -> None:
    with pytest.raises(RankError, match=r"ranks \[0\] of 1 did not end in 0.5 s"):
        run_ranks(sleep, 1, timeout_s=0.5, join_group=False)
