"""The Triton kernels against float64 truth, on a GPU where there is one, else in Triton's interpreter (conftest.py says
so); and what they compile to for three generations of GPUs, none of which need be there.

The fused loss may be no further from the truth than the definition on half-precision features, plus a tolerance.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from helpers import compiled
from helpers.features import Kind, flat, loss_and_gradients, opposite, peaked, unit, with_duplicates
from helpers.ranks import run_ranks
from train.loss import contrastive_loss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROOT = Path(__file__).parents[3]


def assert_as_near_the_truth(image: Tensor, text: Tensor, scale: float) -> None:
    truth = loss_and_gradients(image, text, scale, "reference")
    half = [rows.half() for rows in (image, text)]
    plain = loss_and_gradients(half[0], half[1], scale, "reference")
    fast = loss_and_gradients(image.float().to(DEVICE), text.float().to(DEVICE), scale, "fused")
    assert fast.keys() == truth.keys()
    for name, true in truth.items():
        # Gradients near nothing are what 1 - 1 leaves: the absolute part is one rounding of the terms, times the scale.
        allowed = (plain[name] - true).norm() + 5e-4 * true.norm() + 1e-6 * max(1.0, scale)
        assert (fast[name] - true).norm() <= allowed, name


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # -inf less -inf in lanes that are masked
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0, 250.0])
@pytest.mark.parametrize("kind", [flat, peaked, with_duplicates, opposite])
@pytest.mark.parametrize("n", [1, 2, 127, 252])
def test_the_kernels_are_as_near_the_truth_as_the_definition_in_half_precision(
    n: int, kind: Kind, scale: float
) -> None:
    assert_as_near_the_truth(*kind(n, 32), scale)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("n", "width"), [(1000, 512), (130, 640), (257, 768), (129, 1024), (65, 100), (3, 1)])
def test_any_number_of_pairs_and_any_width_will_do(n: int, width: int) -> None:
    assert_as_near_the_truth(*peaked(n, width), 50.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_batch_of_many_panels_is_as_near_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    from train.loss import fused

    monkeypatch.setattr(fused, "FEWEST_PARTIALS", 5)  # several launches share the columns' sums
    monkeypatch.setattr(fused, "PARTIAL_BYTES", 0)
    assert_as_near_the_truth(*peaked(4096 if DEVICE == "cuda" else 2100, 64), 100.0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("n", [1, 127, 300])
def test_features_that_are_all_equal_cost_log_n(n: int) -> None:
    same = unit(torch.ones(1, 64)).float().expand(n, -1).to(DEVICE)
    found = loss_and_gradients(same, same, 100.0, "fused")
    assert found["loss"].item() == pytest.approx(math.log(n), abs=1e-5)
    assert found["scale"].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_rows_far_below_their_tile_keep_their_softmax() -> None:
    # One text lies next to the first image at scale 300; the others' best logits are 300 units lower, which the
    # exponentials of a shared reference would flush to zero.
    image, text = torch.eye(64, dtype=torch.float64), torch.eye(64, dtype=torch.float64).roll(1, 0) * 0.01
    text[0] = image[0]
    assert_as_near_the_truth(image, text, 300.0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_the_kernels_repeat_bit_for_bit() -> None:
    image, text = (rows.float().to(DEVICE) for rows in flat(300, 64))
    first, second = (loss_and_gradients(image, text, 20.0, "fused") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def share_of_a_rank() -> dict[str, Tensor]:
    rank, world = dist.get_rank(), dist.get_world_size()
    image, text = (rows.float().chunk(world)[rank] for rows in peaked(264, 32))
    return loss_and_gradients(image, text, 14.3, "fused")


@pytest.mark.skipif(DEVICE == "cuda", reason="the ranks share the CPU: gloo")
def test_two_ranks_have_the_gradients_of_one_process() -> None:
    image, text = (rows.float() for rows in peaked(264, 32))
    truth = loss_and_gradients(image, text, 14.3, "fused")
    ranks = run_ranks(share_of_a_rank, 2)
    for name in ("image", "text"):
        joined = torch.cat([found[name] for found in ranks]) / 2  # DDP's average over ranks
        torch.testing.assert_close(joined, truth[name], rtol=1e-4, atol=1e-7)
    average = sum(found["scale"] for found in ranks) / 2
    torch.testing.assert_close(average, truth["scale"], rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(ranks[0]["loss"], truth["loss"], rtol=1e-6, atol=1e-7)


@pytest.fixture(scope="module")
def kernels() -> dict[str, Any]:
    """What compiled.main says of each kernel, from a process without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, compiled.__file__], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


TENSOR_CORES = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}


@pytest.mark.parametrize("width", compiled.WIDTHS)
@pytest.mark.parametrize("capability", TENSOR_CORES)
@pytest.mark.parametrize("kernel", ["_sum_exponentials", "_fill_panel"])
def test_kernels_compile_to_tensor_core_instructions_without_spills(
    kernels: dict[str, Any], kernel: str, capability: int, width: int
) -> None:
    found = kernels[f"{kernel} {capability} {width}"]
    assert found["stack_bytes"] == 0
    assert found["local_bytes"] == 0
    assert found["instructions"][TENSOR_CORES[capability]] > 0
    assert found["atomics"] == 0
    assert found["shared_bytes"] <= {80: 163, 90: 227, 100: 227}[capability] * 1024


def test_half_precision_features_get_gradients_of_their_own_dtype() -> None:
    image, text = (rows.half().to(DEVICE).requires_grad_() for rows in flat(4, 32))
    loss = contrastive_loss(image, text, torch.tensor(10.0, device=DEVICE), "fused")
    loss.backward()
    assert loss.dtype == torch.float32
    assert image.grad is not None
    assert image.grad.dtype == torch.float16
