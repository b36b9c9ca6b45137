from __future__ import annotations

import dataclasses

import pytest
import torch

from helpers.training import CONFIG, MODEL
from models.clip import Clip
from train.optim.bf16_adamw import Bf16AdamW
from train.optim.optimizer import (
    build_optimizer,
    load_state_by_name,
    scheduled_learning_rate,
    set_learning_rate,
    state_by_name,
    steps_taken,
)


def test_matrices_decay_and_gains_biases_and_the_scale_do_not() -> None:
    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert {"token_embedding.weight", "visual.conv1.weight", "text_projection", "visual.proj"} <= names
    assert not [name for name in names if name.endswith("bias") or ".ln_" in name or name == "logit_scale"]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_bf16_statistics_decay_the_same_parameters_and_draw_from_the_jobs_seed() -> None:
    model = Clip(MODEL)
    optimizer = build_optimizer(model, dataclasses.replace(CONFIG, optimizer_state_dtype="bf16"))
    assert isinstance(optimizer, Bf16AdamW)
    assert optimizer.seed == CONFIG.seed
    for group, plain in zip(optimizer.param_groups, build_optimizer(model, CONFIG).param_groups, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in plain["params"]]
        assert {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")} == {
            name: plain[name] for name in ("lr", "betas", "eps", "weight_decay")
        }


@pytest.mark.parametrize("statistics", ["fp32", "bf16"])
def test_steps_are_counted_over_a_resume(statistics: str) -> None:
    model, config = Clip(MODEL), dataclasses.replace(CONFIG, optimizer_state_dtype=statistics)  # type: ignore[arg-type]
    optimizer, resumed = build_optimizer(model, config), build_optimizer(model, config)
    assert steps_taken(optimizer) == 0
    for seed in (1, 2, 3):
        step(model, optimizer, seed)
    load_state_by_name(resumed, model, state_by_name(optimizer, model))
    assert steps_taken(optimizer) == steps_taken(resumed) == 3


def test_the_rate_rises_to_its_highest_then_falls_to_almost_nothing() -> None:
    config = dataclasses.replace(CONFIG, duration="100 steps", warmup_steps=10, learning_rate=1.0)
    rates = [scheduled_learning_rate(step, 100, config) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert scheduled_learning_rate(1, 100, dataclasses.replace(config, warmup_steps=0)) == 1.0
    assert scheduled_learning_rate(100, 100, dataclasses.replace(config, warmup_steps=100)) == 1.0


def test_the_state_by_names_goes_into_another_optimizer_and_moves_it_the_same() -> None:
    models, optimizers = [], []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(Clip(MODEL))
        optimizers.append(build_optimizer(models[-1], CONFIG))
    step(models[0], optimizers[0], 1)
    models[1].load_state_dict(models[0].state_dict())
    state = {name: value.clone() for name, value in state_by_name(optimizers[0], models[0]).items()}
    load_state_by_name(optimizers[1], models[1], state)
    for model, optimizer in zip(models, optimizers, strict=True):
        set_learning_rate(optimizer, 0.01)
        step(model, optimizer, 2)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def step(model: Clip, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()
