"""One optimizer step of all ranks together.

And the straggler timer: how long a rank works by itself in a step, before it first waits for others. Who is slow shows
in nothing else, as all ranks' steps end together.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from train.data.batches import Batch
from train.loss import contrastive_loss
from train.objective import Keyed, Objective
from train.optim.optimizer import steps_taken
from train.ranks import Ranks


class StragglerTimer:
    """Between `begin` and `end` of each step. On a GPU by events in its stream, so that no step waits to be timed."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self._start_lap()

    def begin(self) -> None:
        """A step's own work begins."""
        self._began = self._mark()

    def end(self) -> None:
        """It is done; what follows waits for other ranks."""
        self._spans.append((self._began, self._mark()))

    def lap(self) -> float:
        """Mean seconds of the steps since the last lap; waits for the device to have done them."""
        spans = self._spans
        self._start_lap()
        return sum(_seconds(begin, end) for begin, end in spans) / max(1, len(spans))

    def _start_lap(self) -> None:
        self._spans: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def _mark(self) -> float | torch.cuda.Event:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _seconds(begin: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        end.synchronize()
        elapsed_ms: float = begin.elapsed_time(end)
        return elapsed_ms / 1000
    assert isinstance(begin, float)
    assert isinstance(end, float)
    return end - begin


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}

Inputs = tuple[Tensor, ...]


class Measured(NamedTuple):
    """Scalars of one step, on the device: reading them waits for it."""

    loss: Tensor  # the global batch's mean, before the step
    gradient_norm: Tensor  # of all parameters together; not finite where fp16 overflowed, and the step was left out


@dataclass
class Learner:
    """A model that learns. Make it when the model's and the optimizer's states are in place."""

    objective: Objective[Keyed]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ranks: Ranks

    def __post_init__(self) -> None:
        self.config = self.objective.config
        self.straggler_timer = StragglerTimer(self.ranks.device)
        fp16 = self.config.precision == "fp16"
        self.scaler = GradScaler(self.ranks.device.type) if fp16 else None  # its state is a checkpoint's
        self.network = _distribute(self.model, self.objective, self.ranks)

    @property
    def scaler_state(self) -> dict[str, float | int] | None:
        """What a checkpoint holds of the scaler."""
        return self.scaler.state_dict() if self.scaler else None

    def train_step(self, batch: Batch) -> Measured:
        """Moves the weights by one step on the global batch of which `batch` is this rank's part. With a scaler, a step
        whose gradients overflow moves nothing."""
        self.straggler_timer.begin()
        self.optimizer.zero_grad()
        inputs = self.objective.move(batch.inputs, self.ranks.device)
        loss = self._backward(inputs) if self.config.accumulation == 1 else self._backward_in_parts(inputs)
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.objective.after_step(self.model)
        return Measured(loss.detach(), norm)

    def measures(self, step: int) -> dict[str, float]:
        """What metrics tell of the step that was asked for last: nothing, but in fp16 the factor of the gradients, and
        how many of all steps overflowed. It waits for the device."""
        if not self.scaler:
            return {}
        return {"gradient_scale": self.scaler.get_scale(), "overflowed_steps": step - steps_taken(self.optimizer)}

    def _backward(self, inputs: Inputs) -> Tensor:
        """The loss; its gradients are added to the parameters'."""
        one_BD, other_BD, scale = self._features(self.network, inputs)
        self.straggler_timer.end()
        loss = contrastive_loss(one_BD, other_BD, scale, impl=self.config.loss)
        self._scaled(loss).backward()
        return loss

    def _backward_in_parts(self, inputs: Inputs) -> Tensor:
        """The same from the inputs' parts, one after the other (GradCache, arXiv 2101.06983): all features come first,
        without what their gradients need; the loss over them gives the features' gradients; then each part passes the
        network again and is handed its share."""
        parts = list(zip(*(whole.chunk(self.config.accumulation) for whole in inputs), strict=True))
        with torch.no_grad():
            first = [self._features(self.model, part) for part in parts]
        one_BD, other_BD = (torch.cat(side).requires_grad_() for side in list(zip(*first, strict=True))[:2])
        scale = first[0][2].detach().requires_grad_()
        self.straggler_timer.end()
        loss = contrastive_loss(one_BD, other_BD, scale, impl=self.config.loss)
        self._scaled(loss).backward()
        self._hand_back(parts, _gradient(one_BD), _gradient(other_BD), _gradient(scale))
        return loss

    def _hand_back(self, parts: list[Inputs], one_BD: Tensor, other_BD: Tensor, scale: Tensor) -> None:
        """Turns the gradients of the features and of the scale into the parameters'."""
        shares = zip(one_BD.chunk(len(parts)), other_BD.chunk(len(parts)), strict=True)
        with _running_statistics_held(self.model):
            for number, (part, (one_PD, other_PD)) in enumerate(zip(parts, shares, strict=True), start=1):
                is_last = number == len(parts)
                with contextlib.nullcontext() if is_last else self._not_reduced():
                    features = self._features(self.network, part)
                    handed = (features[0] * one_PD).sum() + (features[1] * other_PD).sum()
                    if is_last:  # the scale is the same in all parts
                        handed = handed + features[2] * scale
                    handed.backward()

    def _features(self, network: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Float32 features of both sides, and the scale."""
        prepared = self.objective.prepare(inputs)
        half = HALF.get(self.config.precision)
        with torch.autocast(self.ranks.device.type, half, enabled=half is not None):
            one_BD, other_BD, scale = network(*prepared)
        return one_BD.float(), other_BD.float(), scale.float()

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.scaler.scale(loss) if self.scaler else loss

    def _not_reduced(self) -> contextlib.AbstractContextManager[None]:
        """Within it, gradients stay this rank's own."""
        network = self.network
        return network.no_sync() if isinstance(network, DistributedDataParallel) else contextlib.nullcontext()


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


@contextlib.contextmanager
def _running_statistics_held(model: nn.Module) -> Iterator[None]:
    """Batch norms do not count what passes within it: they saw it before."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _distribute(model: nn.Module, objective: Objective[Keyed], ranks: Ranks) -> nn.Module:
    """The model with its gradients averaged over the ranks."""
    if ranks.num_ranks == 1:
        return model
    network = DistributedDataParallel(model, gradient_as_bucket_view=True)
    # DDP groups gradients anew after its first backward pass, and groups decide the order of sums. A pass without a
    # step puts that behind, so the first step after a resume sums as it would have without the kill. Batch norms must
    # not count it, and a compiler must not take its shapes for those to come.
    network.eval()
    inputs = objective.prepare(objective.move(objective.blank(), ranks.device))
    with torch.compiler.set_stance("force_eager"):
        one_BD, other_BD, scale = network(*inputs)
        ((one_BD * other_BD).sum() * scale).backward()
    network.train()
    return network
