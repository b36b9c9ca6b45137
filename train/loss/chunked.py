"""The contrastive loss in O(N·D) memory: tiles of the similarity are made, used and forgotten, twice.

Forward: this rank's image rows against all texts, tile by tile, with online log-sum-exps of rows (complete) and of
columns (partial; one combination over ranks completes them). Backward: the same tiles again, each turned into
G = exp(S - row) + exp(S - column) - 2·[diagonal], which two products spread over images and texts. Every tile is
computed on one rank only. The maximum is the running one of each row and column: a fixed maximum, the scale say,
drives most exponentials into subnormal numbers, which is several times slower and wrong where they are flushed.

Shapes: B rows of this rank · N rows of all ranks · D embedding · R×C one tile.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from train.loss.collectives import (
    Group,
    gather_rows,
    log_sum_exp_over_ranks,
    ranks_of,
    scatter_row_sums,
    sum_over_ranks,
)

TILE_ROWS = {"cpu": 512}  # a tile and its exponentials stay in a core's cache
TILE_ROWS_ACCELERATOR = 4096  # large products; two tiles take 128 MB


def chunked_loss(image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group) -> Tensor:
    """The global mean loss, a scalar of at least float32, from features of any dtype."""
    loss: Tensor = _ChunkedLoss.apply(image_BD, text_BD, scale, group)  # type: ignore[no-untyped-call]
    return loss


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, image_BD: Tensor, text_BD: Tensor, scale: Tensor, group: Group) -> Tensor:
        text_ND = gather_rows(text_BD, group)
        own = _own_rows(image_BD, group)
        with torch.autocast(image_BD.device.type, enabled=False):
            image, text = _accumulable(image_BD, text_ND)
            row_B, column_N = _log_sum_exps(image, text, scale.to(image.dtype), group)
            positive_B = (image * text[own]).sum(dim=1) * scale.to(image.dtype)
            loss = sum_over_ranks(((row_B - positive_B) + (column_N[own] - positive_B)).sum(), group) / (2 * len(text))
        ctx.save_for_backward(image_BD, text_ND, scale, row_B, column_N)
        ctx.group = group  # type: ignore[attr-defined]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_loss: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        image_BD, text_ND, scale, row_B, column_N = ctx.saved_tensors  # type: ignore[attr-defined]
        group: Group = ctx.group  # type: ignore[attr-defined]
        own = _own_rows(image_BD, group)
        with torch.autocast(image_BD.device.type, enabled=False):
            image, text = _accumulable(image_BD, text_ND)
            wide_scale = scale.to(image.dtype)
            image_grad, text_grad = _spread(image, text, wide_scale, (row_B, column_N, own.start))
            text_grad = scatter_row_sums(text_grad, group)
            # The average over ranks that follows divides by their number.
            share = grad_loss.to(image.dtype) * ranks_of(group)[1] / (2 * len(text))
            scale_grad = share * (image * image_grad).sum()
            image_grad *= share * wide_scale
            text_grad *= share * wide_scale
        return image_grad.to(image_BD.dtype), text_grad.to(text_ND.dtype), scale_grad.to(scale), None


def _log_sum_exps(image_BD: Tensor, text_ND: Tensor, scale: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """log Σ exp of the logits: over all texts for each own image [B], over all ranks' images for each text [N]."""
    row_max, row_sum = image_BD.new_full((len(image_BD),), -torch.inf), image_BD.new_zeros(len(image_BD))
    column_max, column_sum = text_ND.new_full((len(text_ND),), -torch.inf), text_ND.new_zeros(len(text_ND))
    for rows, columns, logits_RC, spare_RC in _tiles(image_BD, text_ND, scale):
        _add_exponentials(row_max[rows], row_sum[rows], logits_RC, spare_RC, 1)
        _add_exponentials(column_max[columns], column_sum[columns], logits_RC, spare_RC, 0)
    return row_max + row_sum.log(), log_sum_exp_over_ranks(column_max, column_sum, group)


def _add_exponentials(highest: Tensor, exp_sum: Tensor, logits_RC: Tensor, spare_RC: Tensor, dim: int) -> None:
    """Takes a tile into the running maximum and the sum of exponentials below it, in place."""
    risen = torch.maximum(highest, logits_RC.amax(dim))
    torch.sub(logits_RC, risen.unsqueeze(dim), out=spare_RC).exp_()
    exp_sum.mul_((highest - risen).exp_()).add_(spare_RC.sum(dim))
    highest.copy_(risen)


def _spread(
    image_BD: Tensor, text_ND: Tensor, scale: Tensor, sums: tuple[Tensor, Tensor, int]
) -> tuple[Tensor, Tensor]:
    """G @ text [B, D] and Gᵀ @ image [N, D, this rank's part]; `sums` are the log-sum-exps and the diagonal's start."""
    row_B, column_N, diagonal = sums
    image_grad, text_grad = torch.zeros_like(image_BD), torch.zeros_like(text_ND)
    for rows, columns, logits_RC, spare_RC in _tiles(image_BD, text_ND, scale):
        torch.sub(logits_RC, row_B[rows, None], out=spare_RC).exp_()
        grad_RC = logits_RC.sub_(column_N[columns]).exp_().add_(spare_RC)
        first = max(diagonal + rows.start, columns.start)
        last = min(diagonal + rows.stop, columns.stop)
        if first < last:
            own_rows = slice(first - diagonal - rows.start, last - diagonal - rows.start)
            grad_RC[own_rows, first - columns.start : last - columns.start].diagonal().sub_(2)
        image_grad[rows].addmm_(grad_RC, text_ND[columns])
        text_grad[columns].addmm_(grad_RC.T, image_BD[rows])
    return image_grad, text_grad


def _tiles(image_BD: Tensor, text_ND: Tensor, scale: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Rows, columns, their logits, and room of the same shape; both tensors may be overwritten."""
    size = TILE_ROWS.get(image_BD.device.type, TILE_ROWS_ACCELERATOR)
    num_rows, num_columns = len(image_BD), len(text_ND)
    room = image_BD.new_empty(2, min(size, num_rows) * min(size, num_columns))
    for row in range(0, num_rows, size):
        rows = slice(row, min(row + size, num_rows))
        scaled_RD = image_BD[rows] * scale
        for column in range(0, num_columns, size):
            columns = slice(column, min(column + size, num_columns))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            logits_RC, spare_RC = (half[: shape[0] * shape[1]].view(shape) for half in room)
            yield rows, columns, torch.mm(scaled_RD, text_ND[columns].T, out=logits_RC), spare_RC


def _accumulable(image_BD: Tensor, text_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype of at least 32 bits."""
    dtype = torch.promote_types(torch.promote_types(image_BD.dtype, text_ND.dtype), torch.float32)
    return image_BD.to(dtype), text_ND.to(dtype)


def _own_rows(image_BD: Tensor, group: Group) -> slice:
    start = ranks_of(group)[0] * len(image_BD)
    return slice(start, start + len(image_BD))
