"""The contrastive loss in O(N·D) memory: tiles of the similarity are made, used and forgotten, twice.

Forward: this rank's image rows against all texts, tile by tile, with running sums of exponentials of rows (complete)
and of columns (partial; one combination over ranks completes them). Backward: the same tiles again, each turned into
G = softmax over the row + softmax over the column - 2·[diagonal], which two products spread over images and texts.
Every tile is computed on one rank only. Who computes a tile, and in which precision, is the `Tiles`' business.

Communication goes on beside work where there is some that needs nothing of it: texts are gathered while the images meet
this rank's own texts, and texts' gradients are summed over ranks while the images' are finished. That is all that a
loss of 8N²D operations can hide; finer pieces would save a few tenths of a millisecond a step.

Maximum and sum of a softmax stay two numbers: once added up as a log-sum-exp of a hundred, what is left of a confident
pair's loss is rounding.

Shapes: B rows of this rank · N rows of all ranks · D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from train.loss.collectives import (
    Group,
    add_exponentials_over_ranks,
    ranks_of,
    start_gather_rows,
    start_scatter_row_sums,
    sum_over_ranks,
)

EPS = 1e-12  # the length that a feature is divided by at least, as in torch's normalize


class Softmax(NamedTuple):
    """What the backward pass needs of the forward pass: softmax = exp(UNIT · (logit - max)) / sum, both ways."""

    row_max_B: Tensor
    row_sum_B: Tensor
    column_max_N: Tensor
    column_sum_N: Tensor


class Tiles(Protocol):
    """How one rank passes over its tiles. Row b of the images and text `first_own` + b are a pair; with some of the
    texts only, there may be no such text."""

    UNIT: float  # of logits and maxima, in nats

    def operand(self, rows_BD: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
        """The features as the tiles want them, before they are gathered: [B, D or more], zeros in further columns; and
        the lengths [B] that they had, if they are to be normalised."""

    def sum_exponentials(
        self, image_BD: Tensor, text_ND: Tensor, scale: Tensor, first_own: int
    ) -> tuple[Softmax, Tensor]:
        """Row sums over these texts, column sums over this rank's images, the logits of the pairs among them [B]."""

    def backward_tiles(
        self, image_BD: Tensor, text_ND: Tensor, scale: Tensor, softmax: Softmax, first_own: int
    ) -> tuple[Tensor, Tensor]:
        """G @ text [B, D] and this rank's part of Gᵀ @ image [N, D], of at least float32."""


def tiled_loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group, tiles: Tiles, normalize: bool) -> Tensor:
    """The global mean loss, a scalar of at least float32, from features of any dtype."""
    loss: Tensor = _TiledLoss.apply(  # type: ignore[no-untyped-call]
        image_BD, text_BD, scale, group, tiles, normalize
    )
    return loss


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        image_BD: Tensor,
        text_BD: Tensor,
        scale: Tensor,
        group: Group,
        tiles: Tiles,
        normalize: bool,
    ) -> Tensor:
        own = _own_rows(image_BD, group)
        with torch.autocast(image_BD.device.type, enabled=False):
            own_text, text_length_B = tiles.operand(text_BD, normalize)
            gathered = start_gather_rows(own_text, group)
            image, image_length_B = tiles.operand(image_BD, normalize)
            softmax, positive_B = tiles.sum_exponentials(image, own_text, scale, 0)
            text = gathered()
            softmax = _add_others(softmax, image, text, scale, own, tiles)
            column_max, column_sum = add_exponentials_over_ranks(
                softmax.column_max_N, softmax.column_sum_N, tiles.UNIT, group
            )
            softmax = softmax._replace(column_max_N=column_max, column_sum_N=column_sum)
            of_images_B = (softmax.row_max_B - positive_B) * tiles.UNIT + softmax.row_sum_B.log()
            of_texts_B = (column_max[own] - positive_B) * tiles.UNIT + column_sum[own].log()
            loss = sum_over_ranks((of_images_B + of_texts_B).sum(), group) / (2 * len(text))
        lengths_B = (image_length_B, text_length_B)
        ctx.save_for_backward(image, text, scale, *lengths_B, *softmax)  # type: ignore[arg-type]
        ctx.rest = (group, tiles, image_BD.shape[1], image_BD.dtype, text_BD.dtype)  # type: ignore[attr-defined]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_loss: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        image, text, scale, image_length_B, text_length_B, *softmax = ctx.saved_tensors  # type: ignore[attr-defined]
        group, tiles, width, image_dtype, text_dtype = ctx.rest  # type: ignore[attr-defined]
        with torch.autocast(image.device.type, enabled=False):
            own = _own_rows(image, group)
            image_grad, text_grad = tiles.backward_tiles(image, text, scale, Softmax(*softmax), own.start)
            summed = start_scatter_row_sums(text_grad, group)
            # The average over ranks that follows divides by their number.
            share = grad_loss.to(image_grad.dtype) * ranks_of(group)[1] / (2 * len(text))
            scale_grad = share * (image * image_grad).sum()
            factor = share * scale.to(image_grad.dtype)
            _to_features(image_grad.mul_(factor), image, image_length_B)
            text_grad = summed()
            _to_features(text_grad.mul_(factor), text[own], text_length_B)
        image_grad, text_grad = image_grad[:, :width].to(image_dtype), text_grad[:, :width].to(text_dtype)
        return image_grad, text_grad, scale_grad.to(scale), None, None, None


def _add_others(softmax: Softmax, image: Tensor, text: Tensor, scale: Tensor, own: slice, tiles: Tiles) -> Softmax:
    """The softmax of own images and texts, taken on to the texts of all ranks."""
    if len(image) == len(text):
        return softmax
    parts = [
        softmax if columns == own else tiles.sum_exponentials(image, text[columns], scale, own.start - columns.start)[0]
        for columns in _before_own_and_after(own, len(text))
    ]
    row_max_PB, row_sum_PB = (torch.stack([part[i] for part in parts]) for i in range(2))
    highest_B = row_max_PB.amax(0)
    row_sum_B = (row_sum_PB * ((row_max_PB - highest_B) * tiles.UNIT).exp()).sum(0)
    return Softmax(highest_B, row_sum_B, *(torch.cat([part[i] for part in parts]) for i in range(2, 4)))


def _before_own_and_after(own: slice, num_rows: int) -> Iterator[slice]:
    for rows in (slice(0, own.start), own, slice(own.stop, num_rows)):
        if rows.start < rows.stop:
            yield rows


def _to_features(grad: Tensor, unit: Tensor, length_B: Tensor | None) -> None:
    """Takes a gradient by unit vectors to the features that they were made of, in place: what points along a vector
    goes, unless it was too short to have its own length, and the rest is divided by the length."""
    if length_B is not None:
        along_B = (grad * unit).sum(1).masked_fill_(length_B < EPS, 0)
        grad.addcmul_(unit, along_B[:, None], value=-1).div_(length_B.clamp_min(EPS)[:, None])


def _own_rows(image_BD: Tensor, group: Group) -> slice:
    start = ranks_of(group)[0] * len(image_BD)
    return slice(start, start + len(image_BD))
