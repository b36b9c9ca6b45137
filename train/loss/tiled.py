"""The contrastive loss in O(N·D) memory: tiles of the similarity are made, used and forgotten, twice.

Forward: this rank's image rows against all texts, tile by tile, with running sums of exponentials of rows (complete)
and of columns (partial; one combination over ranks completes them). Backward: the same tiles again, each turned into
G = softmax over the row + softmax over the column - 2·[diagonal], which two products spread over images and texts.
Every tile is computed on one rank only. Who computes a tile, and in which precision, is the `Tiles`' business.

Maximum and sum of a softmax stay two numbers: once added up as a log-sum-exp of a hundred, what is left of a confident
pair's loss is rounding.

Shapes: B rows of this rank · N rows of all ranks · D embedding.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from train.loss.collectives import (
    Group,
    add_exponentials_over_ranks,
    gather_rows,
    ranks_of,
    scatter_row_sums,
    sum_over_ranks,
)


class Softmax(NamedTuple):
    """What the backward pass needs of the forward pass: softmax = exp(UNIT · (logit - max)) / sum, both ways."""

    row_max_B: Tensor
    row_sum_B: Tensor
    column_max_N: Tensor
    column_sum_N: Tensor


class Tiles(Protocol):
    """How one rank passes over its tiles. Row b of the images and text `first_own` + b are a pair."""

    UNIT: float  # of logits and maxima, in nats

    def operand(self, rows_BD: Tensor) -> Tensor:
        """The features as the tiles want them, before they are gathered: [B, D or more], zeros in further columns."""

    def sum_exponentials(
        self, image_BD: Tensor, text_ND: Tensor, scale: Tensor, first_own: int
    ) -> tuple[Softmax, Tensor]:
        """Row sums over all texts, column sums over this rank's images, and the logits of the pairs [B]."""

    def spread(
        self, image_BD: Tensor, text_ND: Tensor, scale: Tensor, softmax: Softmax, first_own: int
    ) -> tuple[Tensor, Tensor]:
        """G @ text [B, D] and this rank's part of Gᵀ @ image [N, D], of at least float32."""


def tiled_loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group, tiles: Tiles) -> Tensor:
    """The global mean loss, a scalar of at least float32, from features of any dtype."""
    loss: Tensor = _TiledLoss.apply(image_BD, text_BD, scale, group, tiles)  # type: ignore[no-untyped-call]
    return loss


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group, tiles: Tiles
    ) -> Tensor:
        with torch.autocast(image_BD.device.type, enabled=False):
            image, text = tiles.operand(image_BD), gather_rows(tiles.operand(text_BD), group)
            own = _own_rows(image, group)
            softmax, positive_B = tiles.sum_exponentials(image, text, scale, own.start)
            column_max, column_sum = add_exponentials_over_ranks(
                softmax.column_max_N, softmax.column_sum_N, tiles.UNIT, group
            )
            softmax = softmax._replace(column_max_N=column_max, column_sum_N=column_sum)
            of_images_B = (softmax.row_max_B - positive_B) * tiles.UNIT + softmax.row_sum_B.log()
            of_texts_B = (column_max[own] - positive_B) * tiles.UNIT + column_sum[own].log()
            loss = sum_over_ranks((of_images_B + of_texts_B).sum(), group) / (2 * len(text))
        ctx.save_for_backward(image, text, scale, *softmax)
        ctx.rest = (group, tiles, image_BD.shape[1], image_BD.dtype, text_BD.dtype)  # type: ignore[attr-defined]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_loss: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        image, text, scale, *softmax = ctx.saved_tensors  # type: ignore[attr-defined]
        group, tiles, width, image_dtype, text_dtype = ctx.rest  # type: ignore[attr-defined]
        with torch.autocast(image.device.type, enabled=False):
            first_own = _own_rows(image, group).start
            image_grad, text_grad = tiles.spread(image, text, scale, Softmax(*softmax), first_own)
            text_grad = scatter_row_sums(text_grad, group)
            # The average over ranks that follows divides by their number.
            share = grad_loss.to(image_grad.dtype) * ranks_of(group)[1] / (2 * len(text))
            scale_grad = share * (image * image_grad).sum()
            factor = share * scale.to(image_grad.dtype)
            image_grad.mul_(factor)
            text_grad.mul_(factor)
        image_grad, text_grad = image_grad[:, :width].to(image_dtype), text_grad[:, :width].to(text_dtype)
        return image_grad, text_grad, scale_grad.to(scale), None, None


def _own_rows(image_BD: Tensor, group: Group) -> slice:
    start = ranks_of(group)[0] * len(image_BD)
    return slice(start, start + len(image_BD))
