"""What both objectives ask of an image tower, and of the tokenizer's rows.

Shapes: B batch · S image side in pixels · P places of the feature map · F feature width · L tokens of a text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.resnet import ModifiedResNet
from models.vit import VisionTransformer

ImageTower = VisionTransformer | ModifiedResNet


def freeze(tower: ImageTower, names: tuple[str, ...]) -> None:
    """Parameters that begin with one of the names take no part in an objective: without gradients, distributed
    training does not wait for them and weight decay does not shrink them."""
    for name, parameter in tower.named_parameters():
        if name.startswith(names):
            parameter.requires_grad_(False)


def ends(tokens_BL: Tensor) -> Tensor:
    """The place [B] of each text's end token, the highest id of the vocabulary."""
    return tokens_BL.argmax(dim=-1)


def between_marks(tokens_BL: Tensor) -> Tensor:
    """bool [B, L]: the text itself, behind the start token and before the end token. Padding shares its id with a word,
    so ids alone don't tell."""
    column_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
    return (column_L > 0) & (column_L < ends(tokens_BL)[:, None])


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in a type that can bear sums over the vocabulary."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_names(tokens_CL: Tensor) -> None:
    """Raises ValueError where a class name has no token: it would be as likely as can be."""
    empty = (~between_marks(tokens_CL).any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"class name {empty[0]} has no tokens: give it a name")
