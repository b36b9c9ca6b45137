"""AdamW whose statistics are bfloat16: half their memory.

A statistic moves by less than bfloat16 can tell apart (exp_avg_sq at beta2 = 0.999: by 1e-3 of itself or less, while
neighbours lie 4e-3 to 8e-3 apart), so rounded to the nearest it would stand still. It is rounded up or down at random
instead, with the probabilities that keep its mean. The arithmetic is float32, and the weights see the statistics before
they are rounded. The random bits depend on (seed, step) alone: the same on every rank, and after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from train.data.order import draw

BUCKET_ELEMENTS = 1 << 24  # of the parameters that are moved together: bounds the memory for float32 copies


class Bf16AdamW(torch.optim.Optimizer):
    """Moves float32 parameters; each must have its gradient at every step. Its state is torch.optim.AdamW's."""

    def __init__(self, params: ParamsT, lr: float, betas: tuple[float, float], eps: float, seed: int) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self.seed = seed

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Moves the parameters by their gradients."""
        generators: dict[torch.device, torch.Generator] = {}
        for group in self.param_groups:
            for bucket in _buckets(group["params"]):
                step = self._next_step(bucket)
                device = bucket[0].device
                if device not in generators:
                    generators[device] = torch.Generator(device).manual_seed(draw("adamw", self.seed, step) >> 1)
                self._move(bucket, group, step, generators[device])

    def _next_step(self, bucket: list[Tensor]) -> int:
        """Counts the step; the first makes the statistics."""
        for parameter in bucket:
            state = self.state[parameter]
            if not state:
                state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
                state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
                state["step"] = torch.zeros(())
            # On the CPU, wherever a checkpoint put it: nothing waits for a device to know the step.
            state["step"] = state["step"].cpu() + 1
        return int(self.state[bucket[0]]["step"])

    def _move(self, parameters: list[Tensor], group: dict[str, Any], step: int, generator: torch.Generator) -> None:
        beta1, beta2 = group["betas"]
        grads = [_gradient(parameter) for parameter in parameters]
        means = [self.state[parameter]["exp_avg"] for parameter in parameters]
        squares = [self.state[parameter]["exp_avg_sq"] for parameter in parameters]
        mean, mean_parts = _in_float32(means)
        square, square_parts = _in_float32(squares)
        torch._foreach_lerp_(mean_parts, grads, 1 - beta1)
        torch._foreach_mul_(square_parts, beta2)
        torch._foreach_addcmul_(square_parts, grads, grads, 1 - beta2)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        divisors = torch._foreach_sqrt(square_parts)
        torch._foreach_div_(divisors, (1 - beta2**step) ** 0.5)
        torch._foreach_add_(divisors, group["eps"])
        torch._foreach_addcdiv_(parameters, mean_parts, divisors, -group["lr"] / (1 - beta1**step))
        del divisors
        bits = torch.empty_like(mean, dtype=torch.int32).random_(-(1 << 31), 1 << 31, generator=generator)
        round_at_random(mean, bits)
        round_at_random(square, bits >> 16)
        torch._foreach_copy_(means, mean_parts)
        torch._foreach_copy_(squares, square_parts)


def round_at_random(values: Tensor, bits: Tensor) -> None:
    """Makes each of the float32 values one of its two neighbours in bfloat16, in place: the one farther from zero if
    its lower half (16 bits) and the lower half of its `bits` (int32) overflow 16 bits when added."""
    raw = values.view(torch.int32)
    raw += bits & 0xFFFF
    raw &= -0x10000


def _buckets(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_ELEMENTS:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError(f"a parameter of shape {tuple(parameter.shape)} has no gradient; each must have one")
    return parameter.grad


def _in_float32(tensors: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The tensors one behind the other in float32, and each as a part of that."""
    flat = torch.empty(sum(t.numel() for t in tensors), dtype=torch.float32, device=tensors[0].device)
    parts = [part.view_as(t) for part, t in zip(torch.split(flat, [t.numel() for t in tensors]), tensors, strict=True)]
    torch._foreach_copy_(parts, tensors)
    return flat, parts
