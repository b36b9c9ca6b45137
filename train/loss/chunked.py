"""Tiles of the contrastive loss in plain PyTorch, for any device and dtype.

The maximum of a softmax is the running one of each row and column: a fixed one, the scale say, drives most
exponentials into subnormal numbers, which is several times slower and wrong where they are flushed.

Shapes: B rows of this rank · N rows of all ranks · D embedding · R×C one tile.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from train.loss.tiled import EPS, Softmax

UNIT = 1.0  # of logits and maxima, in nats
TILE_ROWS = {"cpu": 1024}  # two tiles take 8 MB; smaller ones lose time where threads meet, larger ones leave the cache
TILE_ROWS_ACCELERATOR = 4096  # large products; two tiles take 128 MB


def operand(rows_BD: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
    """The features as they are, for what is of half precision is widened after it was gathered; or at length 1, in at
    least float32, and the lengths that they had [B]."""
    if not normalize:
        return rows_BD, None
    rows_BD = rows_BD.to(torch.promote_types(rows_BD.dtype, torch.float32))
    length_B = torch.linalg.vector_norm(rows_BD, dim=1)
    return rows_BD / length_B.clamp_min(EPS)[:, None], length_B


def sum_exponentials(image_BD: Tensor, text_ND: Tensor, scale: Tensor, first_own: int) -> tuple[Softmax, Tensor]:
    """Row sums over these texts, column sums over this rank's images, the logits of the pairs among them [B]."""
    image_BD, text_ND = _accumulable(image_BD, text_ND)
    softmax = Softmax(
        image_BD.new_full((len(image_BD),), -torch.inf),
        image_BD.new_zeros(len(image_BD)),
        text_ND.new_full((len(text_ND),), -torch.inf),
        text_ND.new_zeros(len(text_ND)),
    )
    positive_B = image_BD.new_zeros(len(image_BD))
    for rows, columns, logits_RC, scratch_RC in _tiles(image_BD, text_ND, scale):
        _add_exponentials(softmax.row_max_B[rows], softmax.row_sum_B[rows], logits_RC, scratch_RC, 1)
        _add_exponentials(softmax.column_max_N[columns], softmax.column_sum_N[columns], logits_RC, scratch_RC, 0)
        start, pairs = _pairs(logits_RC, rows, columns, first_own)
        positive_B[start : start + len(pairs)] = pairs
    return softmax, positive_B


def _add_exponentials(highest: Tensor, exp_sum: Tensor, logits_RC: Tensor, scratch_RC: Tensor, dim: int) -> None:
    """Takes a tile into the running maximum and the sum of exponentials below it, in place."""
    new_max = torch.maximum(highest, logits_RC.amax(dim))
    torch.sub(logits_RC, new_max.unsqueeze(dim), out=scratch_RC).exp_()
    exp_sum.mul_((highest - new_max).exp_()).add_(scratch_RC.sum(dim))
    highest.copy_(new_max)


def backward_tiles(
    image_BD: Tensor, text_ND: Tensor, scale: Tensor, softmax: Softmax, first_own: int
) -> tuple[Tensor, Tensor]:
    """G @ text [B, D] and this rank's part of Gᵀ @ image [N, D]."""
    image_BD, text_ND = _accumulable(image_BD, text_ND)
    image_grad, text_grad = torch.zeros_like(image_BD), torch.zeros_like(text_ND)
    per_row_B, per_column_N = softmax.row_sum_B.reciprocal(), softmax.column_sum_N.reciprocal()
    for rows, columns, logits_RC, grad_RC in _tiles(image_BD, text_ND, scale):
        torch.sub(logits_RC, softmax.row_max_B[rows, None], out=grad_RC).exp_().mul_(per_row_B[rows, None])
        logits_RC.sub_(softmax.column_max_N[columns]).exp_()
        grad_RC.addcmul_(logits_RC, per_column_N[columns])
        _pairs(grad_RC, rows, columns, first_own)[1].sub_(2)
        image_grad[rows].addmm_(grad_RC, text_ND[columns])
        text_grad[columns].addmm_(grad_RC.T, image_BD[rows])
    return image_grad, text_grad


def _pairs(tile_RC: Tensor, rows: slice, columns: slice, first_own: int) -> tuple[int, Tensor]:
    """The stretch of this rank's diagonal inside a tile, as a view, and the row of B where it starts.

    Row b and text `first_own` + b are a pair; where there is no such text, the stretch is empty.
    """
    start = max(rows.start, columns.start - first_own)
    stop = max(start, min(rows.stop, columns.stop - first_own))
    across = tile_RC[start - rows.start : stop - rows.start]
    skipped = start + first_own - columns.start
    return start, across[:, skipped : skipped + stop - start].diagonal()


def _tiles(image_BD: Tensor, text_ND: Tensor, scale: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Rows, columns, their logits, and room of the same shape; both tensors may be overwritten."""
    size = TILE_ROWS.get(image_BD.device.type, TILE_ROWS_ACCELERATOR)
    num_rows, num_columns = len(image_BD), len(text_ND)
    room = image_BD.new_empty(2, min(size, num_rows) * min(size, num_columns))
    for row in range(0, num_rows, size):
        rows = slice(row, min(row + size, num_rows))
        scaled_RD = image_BD[rows] * scale.to(image_BD.dtype)
        for column in range(0, num_columns, size):
            columns = slice(column, min(column + size, num_columns))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            logits_RC, scratch_RC = (half[: shape[0] * shape[1]].view(shape) for half in room)
            yield rows, columns, torch.mm(scaled_RD, text_ND[columns].T, out=logits_RC), scratch_RC


def _accumulable(image_BD: Tensor, text_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype of at least 32 bits."""
    dtype = torch.promote_types(torch.promote_types(image_BD.dtype, text_ND.dtype), torch.float32)
    return image_BD.to(dtype), text_ND.to(dtype)
