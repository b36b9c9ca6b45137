"""The loss of several ranks beside that of one process, for each implementation."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from helpers.features import (
    Kind,
    flat,
    loss_and_gradients,
    of_many_lengths,
    peaked,
    per_unit_of_length,
    with_duplicates,
)
from helpers.ranks import run_ranks
from train.loss import chunked

NUM_PAIRS, WIDTH = 132, 32
# Scales at which no gradient is the little that 1 - 1 leaves, which rounding alone moves by more than a part in 1e5.
CASES: dict[str, tuple[Kind, float, bool]] = {
    "flat": (flat, 1.0, False),
    "peaked": (peaked, 5.0, False),
    "with duplicates": (with_duplicates, 2.0, False),
    "normalised": (of_many_lengths, 5.0, True),
}
TOLERANCE = {"reference": 1e-12, "chunked": 1e-12, "fused": 1e-5}  # the first two in float64


def found_of(impl: Any, case: str, rank: int, num_ranks: int) -> dict[str, Tensor]:
    """The loss and the gradients of one rank's share of the pairs; features of one rank not sorted by length."""
    kind, scale, normalize = CASES[case]
    mixed = torch.randperm(NUM_PAIRS, generator=torch.Generator().manual_seed(1))
    dtype = torch.float32 if impl == "fused" else torch.float64
    image, text = (rows[mixed].to(dtype).chunk(num_ranks)[rank] for rows in kind(NUM_PAIRS, WIDTH))
    found = loss_and_gradients(image, text, scale, impl, normalize)
    return per_unit_of_length(found, image, text) if normalize else found


@functools.cache
def alone(impl: str, case: str) -> dict[str, Tensor]:
    """What one process finds."""
    return found_of(impl, case, 0, 1)


def shares() -> dict[tuple[str, str], dict[str, Tensor]]:
    """This rank's losses and gradients, which must repeat bit for bit."""
    chunked.TILE_ROWS["cpu"] = 50  # tiles that neither the ranks nor the batch divide into
    place = (dist.get_rank(), dist.get_world_size())
    found = {(impl, case): found_of(impl, case, *place) for impl in TOLERANCE for case in CASES}
    again = {(impl, "normalised"): found_of(impl, "normalised", *place) for impl in TOLERANCE}
    assert all(torch.equal(again[key][name], found[key][name]) for key in again for name in again[key])
    return found


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
def test_ranks_have_the_loss_and_the_gradients_of_one_process(num_ranks: int) -> None:
    ranks = run_ranks(shares, num_ranks)
    for (impl, case), first in ranks[0].items():
        parts = [rank[impl, case] for rank in ranks]
        assert all(torch.equal(part["loss"], first["loss"]) for part in parts)
        joined = {name: torch.cat([part[name] for part in parts]) / num_ranks for name in ("image", "text")}
        joined |= {"loss": first["loss"], "scale": sum(part["scale"] for part in parts) / num_ranks}
        for name, expected in alone(impl, case).items():
            error = (joined[name] - expected).norm() / expected.norm()
            assert error <= TOLERANCE[impl], (impl, case, name, error)
