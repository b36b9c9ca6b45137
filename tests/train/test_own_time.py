from __future__ import annotations

import time

import pytest
import torch

from train.own_time import OwnTime


def test_only_what_lies_between_begin_and_end_counts_and_a_lap_begins_anew():
    own = OwnTime(torch.device("cpu"))
    for _ in range(2):
        own.begin()
        time.sleep(0.02)
        own.end()
    time.sleep(0.5)  # in the collective
    assert 0.02 <= own.lap() < 0.5
    assert own.lap() == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_it_is_the_streams_time():
    own = OwnTime(torch.device("cuda"))
    own.begin()
    torch.cuda._sleep(100_000_000)
    own.end()
    assert own.lap() > 0.02
