"""Batches of unit vectors of several kinds, and a loss's value and gradients on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from train.loss import contrastive_loss

Kind = Callable[[int, int], tuple[Tensor, Tensor]]  # (pairs, width) → image and text, float64 [pairs, width]


def unit(rows: Tensor) -> Tensor:
    """The rows at length 1, in float64."""
    return F.normalize(rows.double(), dim=1)


def flat(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Vectors that have nothing to do with one another."""
    random = torch.Generator().manual_seed(n)
    return unit(torch.randn(n, width, generator=random)), unit(torch.randn(n, width, generator=random))


def peaked(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Each text next to its image."""
    image, noise = flat(n, width)
    return image, unit(image + 0.05 * noise)


def with_duplicates(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Each pair three times."""
    image, text = peaked(n, width)
    again = torch.arange(n) // 3
    return image[again], text[again]


def opposite(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Each text opposite to its image."""
    image, _ = flat(n, width)
    return image, -image


def of_many_lengths(n: int, width: int) -> tuple[Tensor, Tensor]:
    """Features of lengths from 1e-3 to 1e3, a text of length 0, and an image too short to be brought to length 1."""
    image, text = (rows * torch.logspace(-3, 3, n, dtype=torch.float64)[:, None] for rows in peaked(n, width))
    text[n // 2] = 0
    image[n // 3] *= 1e-14 / image[n // 3].norm()
    return image, text


def loss_and_gradients(
    image: Tensor, text: Tensor, scale: float, impl: Any, normalize: bool = False
) -> dict[str, Tensor]:
    """The loss and its gradients by image, text and scale, in float64 on the CPU."""
    inputs = [image.detach().clone().requires_grad_(), text.detach().clone().requires_grad_()]
    wide = torch.promote_types(image.dtype, torch.float32)  # a parameter is no half-precision number
    logit_scale = torch.tensor(scale, dtype=wide, device=image.device, requires_grad=True)
    loss = contrastive_loss(*inputs, logit_scale, impl, normalize=normalize)  # type: ignore[arg-type, call-arg, misc]
    loss.backward()
    found = {"loss": loss.detach(), "image": inputs[0].grad, "text": inputs[1].grad, "scale": logit_scale.grad}
    return {name: tensor.double().cpu() for name, tensor in found.items() if tensor is not None}


def per_unit_of_length(found: dict[str, Tensor], image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """The gradients by features times these features' lengths, so that long features' count as much as short ones'."""
    lengths = {name: rows.norm(dim=1, keepdim=True) for name, rows in (("image", image), ("text", text))}
    return {
        name: tensor * lengths[name].clamp_min(1e-12) if name in lengths else tensor for name, tensor in found.items()
    }
