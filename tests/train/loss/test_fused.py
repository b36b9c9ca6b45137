# mypy: disable-error-code="arg-type, call-arg"
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
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers import compiled
from helpers.features import (
    Kind,
    flat,
    loss_and_gradients,
    of_many_lengths,
    opposite,
    peaked,
    per_unit_of_length,
    unit,
    with_duplicates,
)
from helpers.matrices import ALL
from helpers.places import ROOT
from train.loss import contrastive_loss, fused

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("n", "width"), [(400, 512), (130, 640), (257, 768), (129, 1024), (65, 100), (3, 1)])
def test_any_number_of_pairs_and_any_width_will_do(n: int, width: int) -> None:
    assert_as_near_the_truth(*peaked(n, width), 50.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("n", [1024, pytest.param(4096, marks=pytest.mark.skipif(not ALL, reason="needs --all"))])
def test_many_pairs_are_as_near_the_truth(n: int) -> None:
    assert_as_near_the_truth(*peaked(n, 64), 100.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", [flat, with_duplicates])
def test_pairs_in_many_launches_panels_and_stretches_are_as_near_the_truth(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(fused, "PARTIAL_BYTES", 10_000)  # two rows of tiles a launch
    monkeypatch.setattr(fused, "PROGRAMS", 6)  # three stretches of columns
    monkeypatch.setattr(fused, "MIN_TILES", 1)
    monkeypatch.setattr(fused, "PANEL_ROWS", 384)
    monkeypatch.setattr(fused, "PANEL_COLUMNS", 256)
    assert_as_near_the_truth(*kind(600, 64), 100.0)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize(("n", "width"), [(5, 64), (127, 640), (252, 100)])
def test_normalised_features_have_the_gradients_of_a_normalisation_before_the_loss(
    n: int, width: int, scale: float
) -> None:
    image, text = of_many_lengths(n, width)
    truth = loss_and_gradients(image, text, scale, "reference", normalize=True)
    plain = normalised_and_halved_before(image, text, scale)
    fast = loss_and_gradients(image.float().to(DEVICE), text.float().to(DEVICE), scale, "fused", normalize=True)
    truth, plain, fast = (per_unit_of_length(found, image, text) for found in (truth, plain, fast))
    assert fast.keys() == truth.keys()
    for name, true in truth.items():
        allowed = (plain[name] - true).norm() + 5e-4 * true.norm() + 1e-6 * max(1.0, scale)
        assert (fast[name] - true).norm() <= allowed, name


def normalised_and_halved_before(image: Tensor, text: Tensor, scale: float) -> dict[str, Tensor]:
    """`loss_and_gradients` of the definition on unit vectors in half precision, in float64 up to there."""
    inputs = [rows.clone().requires_grad_() for rows in (image, text)]
    logit_scale = torch.tensor(scale, requires_grad=True)
    loss = contrastive_loss(*(F.normalize(rows, dim=1).half() for rows in inputs), logit_scale, "reference")
    gradients = torch.autograd.grad(loss, [*inputs, logit_scale])
    return dict(zip(("loss", "image", "text", "scale"), (t.detach().double() for t in (loss, *gradients)), strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 100), (70, 640)])
def test_an_operand_is_the_unit_vectors_rounded_once_and_filled_up_with_zeros(
    n: int, width: int, dtype: torch.dtype
) -> None:
    rows = (flat(n, width)[0] * 7).to(dtype).to(DEVICE)
    found, lengths = fused.operand(rows, True)
    assert found.shape == (n, -(-width // 64) * 64)
    assert not found[:, width:].any()
    assert lengths is not None
    torch.testing.assert_close(lengths, rows.float().norm(dim=1))
    torch.testing.assert_close(found[:, :width], F.normalize(rows.float(), dim=1).half(), rtol=1e-3, atol=1e-7)
    plain, none = fused.operand(rows.T.contiguous().T, False)
    assert none is None
    assert torch.equal(plain[:, :width], rows.half())
    assert not plain[:, width:].any()


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
@pytest.mark.parametrize("kernel", ["_write_operand", "_sum_exponentials", "_fill_panel"])
def test_kernels_compile_without_spills_and_products_to_tensor_core_instructions(
    kernels: dict[str, Any], kernel: str, capability: int, width: int
) -> None:
    found = kernels[f"{kernel} {capability} {width}"]
    assert found["stack_bytes"] == 0
    assert found["local_bytes"] == 0
    assert (found["instructions"][TENSOR_CORES[capability]] > 0) == (kernel != "_write_operand")
    assert found["atomics"] == 0
    assert found["shared_bytes"] <= {80: 163, 90: 227, 100: 227}[capability] * 1024


def test_half_precision_features_get_gradients_of_their_own_dtype() -> None:
    image, text = (rows.half().to(DEVICE).requires_grad_() for rows in flat(4, 32))
    loss = contrastive_loss(image, text, torch.tensor(10.0, device=DEVICE), "fused")
    loss.backward()
    assert loss.dtype == torch.float32
    assert image.grad is not None
    assert image.grad.dtype == torch.float16
