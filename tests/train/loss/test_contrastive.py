# mypy: disable-error-code="arg-type, call-arg, no-untyped-call"
"""The plain implementations against float64 truth, over shapes, softmaxes, scales and ranks.

The chunked loss may be no further from the truth than the definition in the same precision, plus a tolerance.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

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
from helpers.ranks import run_ranks
from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from train.loss import chunked, contrastive_loss

EMBED_DIM = 32


def assert_as_near_the_truth(image: Tensor, text: Tensor, scale: float) -> None:
    truth = loss_and_gradients(image.double(), text.double(), scale, "reference")
    plain = loss_and_gradients(image, text, scale, "reference")
    fast = loss_and_gradients(image, text, scale, "chunked")
    assert fast.keys() == truth.keys()
    for name, true in truth.items():
        # Gradients near nothing are what 1 - 1 leaves: the absolute part is one rounding of the terms.
        allowed = (plain[name] - true).norm() + 1e-6 * true.norm() + 1e-7
        assert (fast[name] - true).norm() <= allowed, name


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunked.TILE_ROWS, "cpu", 100)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0, 250.0])
@pytest.mark.parametrize("kind", [flat, peaked, with_duplicates, opposite])
@pytest.mark.parametrize("n", [1, 2, 127, 252, 1000])
def test_chunked_is_as_near_the_truth_as_the_definition(n: int, kind: Kind, scale: float) -> None:
    image, text = kind(n, EMBED_DIM)
    assert_as_near_the_truth(image.float(), text.float(), scale)


@pytest.mark.parametrize(("kind", "width"), [(flat, 64), (peaked, 33)])
def test_chunked_is_as_near_the_truth_with_many_pairs(kind: Kind, width: int) -> None:
    image, text = kind(4096, width)
    assert_as_near_the_truth(image.float(), text.float(), 100.0)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("n", [2, 127, 1000])
def test_normalised_features_have_the_gradients_of_a_normalisation_before_the_loss(
    n: int, impl: Any, scale: float
) -> None:
    image, text = of_many_lengths(n, EMBED_DIM)
    truth = normalised_before(image, text, scale)
    plain = normalised_before(image.float(), text.float(), scale)
    fast = loss_and_gradients(image.float(), text.float(), scale, impl, normalize=True)
    truth, plain, fast = (per_unit_of_length(found, image, text) for found in (truth, plain, fast))
    assert fast.keys() == truth.keys()
    for name, true in truth.items():
        allowed = (plain[name] - true).norm() + 1e-6 * true.norm() + 1e-7
        assert (fast[name] - true).norm() <= allowed, name


def normalised_before(image: Tensor, text: Tensor, scale: float) -> dict[str, Tensor]:
    """`loss_and_gradients` of the definition after torch's own normalisation."""
    inputs = [rows.clone().requires_grad_() for rows in (image, text)]
    logit_scale = torch.tensor(scale, dtype=image.dtype, requires_grad=True)
    loss = contrastive_loss(*(F.normalize(rows, dim=1) for rows in inputs), logit_scale, "reference")
    gradients = torch.autograd.grad(loss, [*inputs, logit_scale])
    return dict(zip(("loss", "image", "text", "scale"), (t.detach().double() for t in (loss, *gradients)), strict=True))


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_half_precision_features_are_normalised_in_full_precision(impl: Any) -> None:
    image, text = (rows.half() * 3 for rows in flat(64, EMBED_DIM))
    truth = loss_and_gradients(image.double(), text.double(), 50.0, "reference", normalize=True)
    found = loss_and_gradients(image, text, 50.0, impl, normalize=True)
    assert found["loss"].item() == pytest.approx(truth["loss"].item(), rel=1e-5)
    for name in ("image", "text"):
        assert (found[name] - truth[name]).norm() <= 5e-4 * truth[name].norm() + 1e-5, name


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
@pytest.mark.parametrize("kind", [flat, peaked])
def test_half_precision_features_are_accumulated_in_full_precision(
    kind: Kind, dtype: torch.dtype, tolerance: float
) -> None:
    image, text = kind(252, EMBED_DIM)
    image, text = image.to(dtype), text.to(dtype)
    truth = loss_and_gradients(image.double(), text.double(), 100.0, "reference")
    fast = loss_and_gradients(image, text, 100.0, "chunked")
    assert (fast["loss"] - truth["loss"]).abs() <= 1e-5 * truth["loss"] + 1e-5
    for name in ("image", "text", "scale"):  # the outputs' own rounding is all that is left
        assert (fast[name] - truth[name]).norm() <= tolerance * truth[name].norm() + 1e-5, name


@pytest.mark.usefixtures("small_tiles")
def test_double_precision_is_exact() -> None:
    image, text = with_duplicates(252, EMBED_DIM)
    truth = loss_and_gradients(image, text, 30.0, "reference")
    for name, fast in loss_and_gradients(image, text, 30.0, "chunked").items():
        torch.testing.assert_close(fast, truth[name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_gradients_are_those_of_finite_differences(impl: Any, normalize: bool) -> None:
    image, text = (rows[:, :6].contiguous() for rows in flat(5, EMBED_DIM))
    inputs = (image.requires_grad_(), text.requires_grad_(), torch.tensor(7.0, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda i, t, s: contrastive_loss(i, t, s, impl, normalize=normalize) * 3, inputs)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("n", [1, 2, 127, 1000])
def test_features_that_are_all_equal_cost_log_n(impl: Any, n: int) -> None:
    same = unit(torch.ones(1, EMBED_DIM)).float().expand(n, -1)
    found = loss_and_gradients(same, same, 100.0, impl)
    assert found["loss"].item() == pytest.approx(math.log(n), abs=1e-5)
    assert found["scale"].item() == pytest.approx(0, abs=1e-5)


def test_two_pairs_by_hand() -> None:
    # Images e1 and e2, texts e1 and e1, scale ln 2: the logits are ln 2 in the first row and 0 in the second.
    image, text = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rows = math.log(4 / 2) + math.log(2)
    columns = math.log(3 / 2) + math.log(3)
    for impl in ("reference", "chunked"):
        found = loss_and_gradients(image, text, math.log(2), impl)
        assert found["loss"].item() == pytest.approx((rows + columns) / 4, rel=1e-6)
        # rows cancel; columns: softmax (2/3, 1/3) less the pair's own 1, at the similarity 1 of the first row
        assert found["scale"].item() == pytest.approx((2 / 3 - 1 + 2 / 3) / 4, rel=1e-5)


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_autocast_around_the_loss_does_not_reach_into_it(impl: Any) -> None:
    image, text = (rows.float() for rows in peaked(64, EMBED_DIM))
    plain = loss_and_gradients(image, text, 100.0, impl)
    inputs = [image.requires_grad_(), text.requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(*inputs, torch.tensor(100.0), impl)
    loss.backward()
    assert torch.equal(loss.double(), plain["loss"])
    for name, rows in zip(("image", "text"), inputs, strict=True):
        assert rows.grad is not None
        assert torch.equal(rows.grad.double(), plain[name])


def test_chunked_repeats_bit_for_bit() -> None:
    image, text = (rows.float() for rows in flat(700, EMBED_DIM))
    first, second = (loss_and_gradients(image, text, 20.0, "chunked") for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


class LargestTensor(TorchDispatchMode):
    """Records the elements of the largest tensor that any operation gives back."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


@pytest.mark.usefixtures("small_tiles")
def test_chunked_never_holds_the_similarity_matrix() -> None:
    n = 1000
    image, text = (rows.float() for rows in flat(n, EMBED_DIM))
    largest = {}
    for impl in ("reference", "chunked"):
        with LargestTensor() as mode:
            loss_and_gradients(image, text, 20.0, impl)
        largest[impl] = mode.elements
    assert largest["reference"] >= n * n
    assert largest["chunked"] <= n * EMBED_DIM


@pytest.mark.parametrize(
    ("image", "text", "scale", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 3), torch.tensor(1.0), r"\(2, 3\) and text features \(3, 3\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), torch.tensor(1.0), "at least one pair"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), r"scale of shape \(2,\)"),
    ],
)
def test_what_is_no_batch_of_pairs_is_refused(image: Tensor, text: Tensor, scale: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contrastive_loss(image, text, scale)


def test_an_unknown_implementation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="one of reference, chunked, fused"):
        contrastive_loss(torch.eye(2), torch.eye(2), torch.tensor(1.0), "fast")


# --- over ranks ---

TINY = ClipConfig(
    embed_dim=16,
    vision=VisionTransformerConfig(image_px=16, patch_px=8, width=16, layers=1, heads=2),
    text=TextConfig(context_length=8, vocabulary_size=50, width=16, layers=1, heads=2),
)
NUM_PAIRS = 12


def tiny_batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, 49, (NUM_PAIRS, 8), generator=random)
    tokens[:, 0] = 48
    tokens[torch.arange(NUM_PAIRS), torch.arange(NUM_PAIRS) % 6 + 2] = 49
    return torch.randn(NUM_PAIRS, 3, 16, 16, generator=random), tokens


def step(impl: Any, rank: int, world: int) -> dict[str, Tensor]:
    """Loss and every parameter's gradient after one step of `rank`'s share of the batch, through DDP if in a group."""
    torch.manual_seed(0)
    model = Clip(TINY)
    image, tokens = (rows.chunk(world)[rank] for rows in tiny_batch())
    runner = DistributedDataParallel(model) if dist.is_initialized() else model
    loss = contrastive_loss(*runner(image, tokens), impl)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"loss": loss.detach(), **gradients}


def steps_on_this_rank() -> dict[str, dict[str, Tensor]]:
    chunked.TILE_ROWS["cpu"] = 5  # tiles that neither the ranks nor the batch divide into
    return {impl: step(impl, dist.get_rank(), dist.get_world_size()) for impl in ("reference", "chunked")}


def assert_equal_within(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= relative * tensor.norm(), name


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_loss_and_every_gradient_through_ddp_equal_one_process(num_ranks: int) -> None:
    expected = step("reference", 0, 1)
    assert len(expected) == 1 + len(list(Clip(TINY).parameters()))
    assert expected["logit_scale"] != 0
    for rank in run_ranks(steps_on_this_rank, num_ranks):
        for impl in ("reference", "chunked"):
            assert_equal_within(rank[impl], expected, 1e-5)


def subgroup_and_uneven_rows() -> tuple[float | None, float | None, str]:
    rank = dist.get_rank()
    group = dist.new_group([0, 2])
    image, text = (rows.chunk(2)[rank // 2] for rows in flat(8, EMBED_DIM))
    loss = gradient = None
    if rank != 1:
        scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
        total = contrastive_loss(image, text, scale, "chunked", group)
        total.backward()
        assert scale.grad is not None
        loss, gradient = total.item(), scale.grad.item()
    try:
        contrastive_loss(image[: rank + 1], text[: rank + 1], torch.tensor(9.0))
    except ValueError as error:
        return loss, gradient, str(error)
    return loss, gradient, "not refused"


def test_a_group_of_some_ranks_has_its_own_loss_and_uneven_rows_are_refused() -> None:
    truth = loss_and_gradients(*flat(8, EMBED_DIM), 9.0, "reference")
    results = run_ranks(subgroup_and_uneven_rows, 3)
    assert results[0][0] == pytest.approx(truth["loss"].item(), rel=1e-12)
    assert results[2][0] == results[0][0]
    shares = [results[0][1], results[2][1]]
    assert sum(shares) / 2 == pytest.approx(truth["scale"].item(), rel=1e-12)
    assert all("ranks 0 to 2: each rank must bring the same" in message for _, _, message in results)
