"""One optimizer step of all ranks together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.batches import Batch
from train.config import AnyTrainingConfig
from train.loss import contrastive_loss
from train.objective import Keyed, Objective
from train.optimizer import set_learning_rate
from train.ranks import Ranks


class Measured(NamedTuple):
    """Scalars of one step, on the device: reading them waits for it."""

    loss: Tensor  # the global batch's mean, before the step
    gradient_norm: Tensor  # of all parameters together


@dataclass
class Learner:
    """A model that learns. Make it when the model's and the optimizer's states are in place."""

    config: AnyTrainingConfig
    objective: Objective[Keyed]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ranks: Ranks

    def __post_init__(self) -> None:
        self.network = _distribute(self.model, self.objective, self.ranks)

    def step(self, batch: Batch, learning_rate: float) -> Measured:
        """Moves the weights by one step on the global batch of which `batch` is this rank's part."""
        device, config = self.ranks.device, self.config
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad()
        inputs = self.objective.prepare(tuple(part.to(device, non_blocking=True) for part in batch.inputs))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            one_BD, other_BD, scale = self.network(*inputs)
        loss = contrastive_loss(one_BD.float(), other_BD.float(), scale.float(), impl=config.loss)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self.optimizer.step()
        self.objective.after_step(self.model)
        return Measured(loss.detach(), norm)


def _distribute(model: nn.Module, objective: Objective[Keyed], ranks: Ranks) -> nn.Module:
    """The model with its gradients averaged over the ranks."""
    if ranks.num_ranks == 1:
        return model
    network = DistributedDataParallel(model, gradient_as_bucket_view=True)
    # DDP groups gradients anew after its first backward pass, and groups decide the order of sums. A pass without a
    # step puts that behind, so the first step after a resume sums as it would have without the kill. Batch norms must
    # not count it.
    network.eval()
    inputs = objective.prepare(tuple(part.to(ranks.device) for part in objective.blank()))
    one_BD, other_BD, scale = network(*inputs)
    ((one_BD * other_BD).sum() * scale).backward()
    network.train()  # type: ignore[no-untyped-call]
    return network
