"""The straggler timer: a rank's own work, without its waiting for the others."""

from __future__ import annotations

import time

import pytest
import torch

from train.step import StragglerTimer


def test_only_what_lies_between_begin_and_end_counts_and_a_lap_begins_anew() -> None:
    own, begun = StragglerTimer(torch.device("cpu")), time.monotonic()
    for _ in range(2):
        own.begin()
        time.sleep(0.02)
        own.end()
    time.sleep(0.5)  # in the collective
    assert 0.02 <= own.lap() <= time.monotonic() - begun - 0.5
    assert own.lap() == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_it_is_the_streams_time() -> None:
    own = StragglerTimer(torch.device("cuda"))
    own.begin()
    torch.cuda._sleep(100_000_000)
    own.end()
    assert own.lap() > 0.02
