"""The contrastive loss by its definition (paper, figure 3): the plain twin that the fast ones are judged against.

Shapes: B rows of this rank · N rows of all ranks · D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from train.loss.collectives import GatherRows, Group, ranks_of


def reference_loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group, normalize: bool) -> Tensor:
    """The global mean loss, a scalar in the features' dtype (of at least float32 where they are normalised here); holds
    all N×N logits on every rank.

    Each rank computes the whole loss from gathered features, and the gather adds up what all ranks ask, so features
    get W times their share, and the scale the whole gradient: what an average over ranks makes exact.
    """
    with torch.autocast(image_BD.device.type, enabled=False):
        if normalize:
            image_BD, text_BD = _unit(image_BD), _unit(text_BD)
        if ranks_of(group)[1] > 1:
            image_ND: Tensor = GatherRows.apply(image_BD, group)  # type: ignore[no-untyped-call]
            text_ND: Tensor = GatherRows.apply(text_BD, group)  # type: ignore[no-untyped-call]
        else:
            image_ND, text_ND = image_BD, text_BD
        logits_NN = scale.to(image_ND.dtype) * image_ND @ text_ND.T.to(image_ND.dtype)
        own_N = torch.arange(len(logits_NN), device=logits_NN.device)
        return (F.cross_entropy(logits_NN, own_N) + F.cross_entropy(logits_NN.T, own_N)) / 2


def _unit(rows_BD: Tensor) -> Tensor:
    return F.normalize(rows_BD.to(torch.promote_types(rows_BD.dtype, torch.float32)), dim=1)
