"""AdamW as CLIP's (paper, section 2.5), its schedule, and its state by parameter names."""

from __future__ import annotations

import math
from itertools import islice

import torch
from torch import Tensor, nn

from train.config import TrainingConfig
from train.optim.bf16_adamw import Bf16AdamW


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Decay on matrices only: gains, biases, the logit scale and other vectors have none."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    if config.optimizer_state_dtype == "bf16":
        return Bf16AdamW(groups, config.learning_rate, betas, config.eps, config.seed)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.eps, fused=True)


def scheduled_learning_rate(step: int, num_steps: int, config: TrainingConfig) -> float:
    """The learning rate of a step (the first is 1): a linear rise, then half a cosine that would be 0 one step after
    the last of `num_steps`."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    share = (step - 1 - config.warmup_steps) / (num_steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """All parameters move at this rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """How often the parameters moved since the training began; it waits for the device."""
    counts = [int(state["step"]) for state in islice(optimizer.state.values(), 1)]
    return counts[0] if counts else 0


def state_by_name(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as {"<parameter>/<statistic>": tensor}."""
    return {
        f"{name}/{statistic}": value
        for name, parameter in model.named_parameters()
        for statistic, value in optimizer.state[parameter].items()
    }


def load_state_by_name(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Puts back what `state_by_name` gave."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, statistic = key.rpartition("/")
        optimizer.state[parameters[name]][statistic] = value.to(parameters[name].device)
