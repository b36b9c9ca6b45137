# mypy: disable-error-code="arg-type, index"
from __future__ import annotations

import copy
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.shards import write_shards
from helpers.training import alone, curve, job, train_here
from train.checkpoints.checkpoints import load_model
from train.checkpoints.layout import folder_of
from train.optim import bf16_adamw
from train.optim.bf16_adamw import Bf16AdamW, round_at_random
from train.optim.optimizer import load_state_by_name, state_by_name

BETAS, EPS = (0.9, 0.999), 1e-6


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 10))


def optimizer_of(model: nn.Module, seed: int = 5) -> Bf16AdamW:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.2},
        {"params": [p for p in model.parameters() if p.ndim == 1]},
    ]
    return Bf16AdamW(groups, 0.01, BETAS, EPS, seed)


def move(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)
    optimizer.step()


def tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = {name: value.clone() for name, value in state_by_name(optimizer, model).items()}
    return state | {name: value.clone() for name, value in model.state_dict().items()}


@given(st.floats(width=32, min_value=-(2.0**120), max_value=2.0**120), st.integers(-(2**31), 2**31 - 1))
def test_a_value_becomes_one_of_its_two_neighbours_or_stays_where_it_is_one(value: float, bits: int) -> None:
    rounded = torch.tensor([value])
    toward_zero = (rounded.view(torch.int32) & -0x10000).view(torch.float32).item()
    round_at_random(rounded, torch.tensor([bits], dtype=torch.int32))
    away = (torch.tensor([toward_zero]).view(torch.int32) + 0x10000).view(torch.float32).item()
    assert rounded.bfloat16().item() == rounded.item()
    assert rounded.item() in ((toward_zero,) if toward_zero == value else (toward_zero, away))


@pytest.mark.parametrize("value", [1.001, -1.0071, 3e-12])
def test_all_bits_together_keep_the_mean_exactly(value: float) -> None:
    rounded = torch.full((1 << 16,), value)
    true = rounded[0].double()
    round_at_random(rounded, torch.arange(1 << 16, dtype=torch.int32))
    assert rounded.double().mean() == true
    assert len(rounded.unique()) == 2


def test_the_first_step_is_that_of_float32_statistics_in_one_bucket_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for elements in (1 << 24, 100):
        monkeypatch.setattr(bf16_adamw, "BUCKET_ELEMENTS", elements)
        model, peer = network(), network()
        optimizer = optimizer_of(model)
        plain = torch.optim.AdamW(optimizer_of(peer).param_groups, lr=0.01, betas=BETAS, eps=EPS)
        move(model, optimizer, 1)
        move(peer, plain, 1)
        for one, other in zip(model.parameters(), peer.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
        state = optimizer.state[model[0].weight]
        assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.bfloat16
        torch.testing.assert_close(state["exp_avg"].float(), plain.state[peer[0].weight]["exp_avg"], rtol=2**-7, atol=0)


def test_the_same_seed_rounds_the_same_and_another_seed_or_step_does_not() -> None:
    found = {}
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        model = network()
        optimizer = optimizer_of(model, seed)
        move(model, optimizer, 1)
        found[name] = tensors(model, optimizer)
    assert all(torch.equal(value, found["same"][name]) for name, value in found["one"].items())
    assert not torch.equal(found["one"]["0.weight/exp_avg"], found["other"]["0.weight/exp_avg"])
    assert not torch.equal(found["one"]["0.weight/exp_avg_sq"], found["other"]["0.weight/exp_avg_sq"])
    signs = []
    for step in (1, 2):  # which way the same values go
        for state in optimizer.state.values():
            state["step"], state["exp_avg"] = torch.tensor(float(step)), torch.zeros_like(state["exp_avg"])
        move(model, optimizer, 1)
        signs.append(optimizer.state[model[0].weight]["exp_avg"].clone())
    assert not torch.equal(signs[0], signs[1])


def test_the_state_by_names_goes_into_another_optimizer_and_moves_it_bit_for_bit() -> None:
    model = network()
    optimizer = optimizer_of(model)
    for seed in (1, 2, 3):
        move(model, optimizer, seed)
    resumed = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    other = optimizer_of(resumed)
    load_state_by_name(other, resumed, copy.deepcopy(state_by_name(optimizer, model)))
    for seed in (4, 5):
        move(model, optimizer, seed)
        move(resumed, other, seed)
    found = tensors(resumed, other)
    assert all(torch.equal(value, found[name]) for name, value in tensors(model, optimizer).items())
    assert not any(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_statistics_that_the_nearest_neighbour_would_hold_still_go_on_in_the_mean() -> None:
    weights = nn.Parameter(torch.zeros(2000))
    optimizer = Bf16AdamW([weights], 1e-3, BETAS, EPS, 0)
    nearest, true = torch.zeros((), dtype=torch.bfloat16), 1 - BETAS[1] ** 1500
    for _ in range(1500):
        weights.grad = torch.ones_like(weights)
        optimizer.step()
        nearest = (nearest.float() * BETAS[1] + (1 - BETAS[1])).bfloat16()
    assert nearest < 0.4 * true
    assert optimizer.state[weights]["exp_avg_sq"].double().mean().item() == pytest.approx(true, rel=5e-3)
    assert weights.mean().item() == pytest.approx(-1.5, rel=1e-2)  # a constant gradient moves by the rate


def test_a_parameter_without_a_gradient_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match=r"shape \(20, 30\) has no gradient"):
        optimizer_of(model).step()


@pytest.mark.slow
def test_a_clip_learns_as_with_float32_statistics_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [20, 20])
    changes = {"ranks": 1, "duration": "80 steps", "learning_rate": 0.004, "beta2": 0.999, "save_every": 40}
    runs = {
        name: job(tmp_path / "data", tmp_path / name, optimizer_state_dtype=name, **changes)
        for name in ("fp32", "bf16")
    }
    with alone():
        for run in runs.values():
            train_here(run)
        ends = {
            name: statistics.mean(float(str(record["loss"])) for record in curve(tmp_path / name)[-20:])
            for name in runs
        }
        before, weights = curve(tmp_path / "bf16"), load_model(folder_of(runs["bf16"].checkpoints, 80)).state_dict()
        shutil.rmtree(folder_of(runs["bf16"].checkpoints, 80))
        train_here(runs["bf16"])
    assert ends["fp32"] < float(str(before[0]["loss"])) - 0.5
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.05)
    assert curve(tmp_path / "bf16") == before
    again = load_model(folder_of(runs["bf16"].checkpoints, 80)).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
