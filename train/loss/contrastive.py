"""One loss, several implementations with the same result."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from train.loss import chunked
from train.loss.collectives import Group, require_equal_rows
from train.loss.reference import reference_loss
from train.loss.tiled import tiled_loss

LossImpl = Literal["reference", "chunked", "fused"]


def contrastive_loss(
    image_BD: Tensor,
    text_BD: Tensor,
    scale: Tensor,
    impl: LossImpl = "chunked",
    group: Group = None,
    normalize: bool = False,
) -> Tensor:
    """The symmetric cross entropy over all pairs of all ranks, a scalar: the same number on each rank.

    `image_BD` and `text_BD` are this rank's unit vectors, or features of any length with `normalize`; B is the same on
    each rank; row b of both is one pair; `scale` is the logit scale, not its logarithm (paper, section 2.3 and figure
    3). `group` None: the default process group where there is one, else this process alone.

    Each gradient (image, text, scale) is this rank's share of the global loss's gradient times the number of ranks,
    so DistributedDataParallel's average over ranks gives the exact gradient of the global loss for the parameters of
    both encoders and for the scale.

    Implementations: `reference`, the definition, holds all logits; `chunked`, plain PyTorch; `fused`, Triton kernels
    with fp16 operands, for CUDA. Raises ValueError for features that are no pairs, or differ in shape between ranks
    (see require_equal_rows).
    """
    if image_BD.ndim != 2 or image_BD.shape != text_BD.shape or not len(image_BD):
        raise ValueError(
            f"image features {tuple(image_BD.shape)} and text features {tuple(text_BD.shape)}: must be equal, "
            "[pairs, embedding], at least one pair"
        )
    if scale.numel() != 1:
        raise ValueError(f"scale of shape {tuple(scale.shape)}: must be one number")
    if impl not in get_args(LossImpl):
        raise ValueError(f"impl={impl!r}: must be one of {', '.join(get_args(LossImpl))}")
    require_equal_rows(image_BD, group)
    scale = scale.reshape(())
    if impl == "reference":
        return reference_loss(image_BD, text_BD, scale, group, normalize)
    if impl == "fused":
        from train.loss import fused  # needs Triton, which not every machine has

        return tiled_loss(image_BD, text_BD, scale, group, fused, normalize)
    return tiled_loss(image_BD, text_BD, scale, group, chunked, normalize)
