"""Tiles of the contrastive loss as Triton kernels, for CUDA devices.

Operands are fp16 (unit vectors lose less in it than in bf16), sums are fp32, and the scale is applied in fp32. Logits
are in units of ln 2 inside a tile, where an exponential is one instruction. A tile needs one an element, not two: with
the tile's highest logit as reference, exp2(logit - reference) serves its rows and its columns, unless one of those
lies so far below the reference that its exponentials would be flushed to zero; such a tile takes two.

    operand            one pass over the features: normalised if asked, in fp16, filled up
    sum_exponentials   2N²D operations; rows' softmax in registers, columns' partial one in a small buffer, no atomics
    backward_tiles     6N²D: panels of G in fp16, made tile by tile, then two matrix products of the library

The order of all sums is fixed, so results repeat bit for bit on one device.

Shapes: B rows of this rank · N rows of all ranks · D embedding, filled up to a multiple of 64 · R×C one tile · P×Q one
panel · S stretches of columns.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from train.loss.tiled import EPS, Softmax

TILE_ROWS = 128
TILE_COLUMNS = 128
STEP = 64  # of the sum over D
WARPS = 8
STAGES, STAGES_OF_SM_8X = 3, 2  # of the pipeline over D; with three, registers spill on Ampere
PROGRAMS = 2048  # of one launch, so that the last ones leave few multiprocessors idle, also for one rank of many
MIN_TILES = 8  # of a program, which starts its pipeline and ends its rows once
PANEL_ROWS, PANEL_COLUMNS = 8192, 4096  # of G: 64 MB; its products fill a GPU, and texts' sums are read rarely
PARTIAL_BYTES = 1 << 26  # for columns' partial softmaxes, and at least one row of tiles
ROW_ELEMENTS = 4096  # of features in one program
UNIT = math.log(2)  # of logits and maxima, in nats
GRAD_UNIT = 2.0**14  # what 1 is in G: |G| is at most 2, and 4e-9 is still a normal number of fp16

_LOG2_E = tl.constexpr(math.log2(math.e))
_GRAD_UNIT = tl.constexpr(GRAD_UNIT)
_EPS = tl.constexpr(EPS)
_SAFE = tl.constexpr(80.0)  # powers of two below the reference that are still far from the smallest number, 2^-126


def operand(rows_BD: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
    """The features in fp16, filled up with zeros to a width that the kernels' steps divide; and, if they are to be
    normalised, the lengths that they had [B]."""
    num_rows, width = rows_BD.shape
    rows_BD = rows_BD.contiguous()
    operand_BD = rows_BD.new_empty(num_rows, triton.cdiv(width, STEP) * STEP, dtype=torch.float16)
    length_B = rows_BD.new_empty(num_rows, dtype=torch.float32)
    sizes = operand_sizes(operand_BD.shape[1], normalize)
    _write_operand[(triton.cdiv(num_rows, sizes["R"]),)](rows_BD, operand_BD, length_B, num_rows, width, **sizes)
    return operand_BD, length_B if normalize else None


def sum_exponentials(image_BD: Tensor, text_ND: Tensor, scale: Tensor, first_own: int) -> tuple[Softmax, Tensor]:
    """Row sums over these texts, column sums over this rank's images, the logits of the pairs among them [B]."""
    num_rows, num_columns = len(image_BD), len(text_ND)
    most_rows = max(1, PARTIAL_BYTES // (8 * num_columns)) * TILE_ROWS
    positive = image_BD.new_zeros(num_rows, dtype=torch.float32)
    row_max, row_sum = torch.empty_like(positive), torch.empty_like(positive)
    column_max = text_ND.new_full((num_columns,), -torch.inf, dtype=torch.float32)
    column_sum = torch.zeros_like(column_max)
    scale = scale.float()
    for start in range(0, num_rows, most_rows):
        rows = slice(start, min(start + most_rows, num_rows))
        num_tiles = triton.cdiv(rows.stop - start, TILE_ROWS)
        stretch = _stretch(num_tiles, num_columns)
        num_stretches = triton.cdiv(num_columns, stretch)
        max_SB, sum_SB = image_BD.new_empty(2, num_stretches, rows.stop - start, dtype=torch.float32)
        tile_max, tile_sum = text_ND.new_empty(2, num_tiles, num_columns, dtype=torch.float32)
        _sum_exponentials[(num_tiles, num_stretches)](
            image_BD[rows], text_ND, scale, max_SB, sum_SB, positive[rows], tile_max, tile_sum,
            rows.stop - start, num_columns, stretch, first_own + start, **_compiled_for(image_BD),
        )  # fmt: skip
        row_max[rows] = max_SB.amax(0)
        row_sum[rows] = sum_SB.mul_(max_SB.sub_(row_max[rows]).exp2_()).sum(0)
        highest = torch.maximum(column_max, tile_max.amax(0))
        added = tile_sum.mul_(tile_max.sub_(highest).exp2_()).sum(0)
        column_sum = column_sum * (column_max - highest).exp2() + added
        column_max = highest
    return Softmax(row_max, row_sum, column_max, column_sum), positive


def backward_tiles(
    image_BD: Tensor, text_ND: Tensor, scale: Tensor, softmax: Softmax, first_own: int
) -> tuple[Tensor, Tensor]:
    """G @ text [B, D] and this rank's part of Gᵀ @ image [N, D], in fp32."""
    num_rows, num_columns = len(image_BD), len(text_ND)
    image_grad = torch.zeros_like(image_BD, dtype=torch.float32)
    text_grad = torch.zeros_like(text_ND, dtype=torch.float32)
    room = image_BD.new_empty(min(PANEL_ROWS, num_rows) * min(PANEL_COLUMNS, num_columns))
    scale = scale.float()
    for row in range(0, num_rows, PANEL_ROWS):
        rows = slice(row, min(row + PANEL_ROWS, num_rows))
        for column in range(0, num_columns, PANEL_COLUMNS):
            columns = slice(column, min(column + PANEL_COLUMNS, num_columns))
            shape = (rows.stop - row, columns.stop - column)
            grad_PQ = room[: shape[0] * shape[1]].view(shape)
            _fill_panel[(triton.cdiv(shape[1], TILE_COLUMNS), triton.cdiv(shape[0], TILE_ROWS))](
                image_BD[rows], text_ND[columns], scale, softmax.row_max_B[rows], softmax.row_sum_B[rows],
                softmax.column_max_N[columns], softmax.column_sum_N[columns], grad_PQ, *shape,
                first_own + row - column, **_compiled_for(image_BD),
            )  # fmt: skip
            _add_product(image_grad[rows], grad_PQ, text_ND[columns])
            _add_product(text_grad[columns], grad_PQ.T, image_BD[rows])
    return image_grad, text_grad


def operand_sizes(width: int, normalize: bool) -> dict[str, int]:
    """The sizes that the operand's kernel is compiled for, at a width of the operands."""
    room = triton.next_power_of_2(width)
    return {"D": width, "W": room, "R": max(1, ROW_ELEMENTS // room), "NORMALIZE": normalize}


def tile_sizes(width: int) -> dict[str, int]:
    """The sizes that the kernels are compiled for, at a width of the operands."""
    return {"D": width, "R": TILE_ROWS, "C": TILE_COLUMNS, "K": STEP}


def launch_options(generation: int) -> dict[str, int]:
    """Triton's options for a generation of GPUs (8: Ampere, 9: Hopper, 10: Blackwell)."""
    return {"num_warps": WARPS, "num_stages": STAGES_OF_SM_8X if generation == 8 else STAGES}


def _compiled_for(features: Tensor) -> dict[str, int]:
    generation = torch.cuda.get_device_capability(features.device)[0] if features.is_cuda else 0
    return {**tile_sizes(features.shape[1]), **launch_options(generation)}


def _stretch(num_tiles: int, num_columns: int) -> int:
    """The columns that one program passes over: a multiple of a tile's."""
    tiles = math.ceil(num_columns / TILE_COLUMNS)
    stretches = max(1, min(PROGRAMS // num_tiles, tiles // MIN_TILES))
    return math.ceil(tiles / stretches) * TILE_COLUMNS


def _add_product(total: Tensor, grad: Tensor, features: Tensor) -> None:
    """total += grad @ features / GRAD_UNIT, summed in fp32."""
    if total.is_cuda:
        torch.addmm(total, grad, features, out_dtype=torch.float32, alpha=1 / GRAD_UNIT, out=total)
    else:  # of the interpreter
        total.addmm_(grad.float(), features.float(), alpha=1 / GRAD_UNIT)


@triton.jit  # type: ignore[untyped-decorator]
def _write_operand(  # type: ignore[no-untyped-def]
    features, operand, length, num_rows, width,
    D: tl.constexpr, W: tl.constexpr, R: tl.constexpr, NORMALIZE: tl.constexpr,
):  # fmt: skip
    """R rows of the operand, of W or fewer columns, and their lengths."""
    row_R, column_W = tl.program_id(0) * R + tl.arange(0, R), tl.arange(0, W)
    inside_R = row_R < num_rows
    place_RW = row_R.to(tl.int64)[:, None] * width + column_W[None, :]
    row_RW = tl.load(features + place_RW, mask=inside_R[:, None] & (column_W < width)[None, :], other=0.0)
    row_RW = row_RW.to(tl.float32)
    if NORMALIZE:
        length_R = tl.sqrt(tl.sum(row_RW * row_RW, 1))
        row_RW /= tl.maximum(length_R, _EPS)[:, None]
        tl.store(length + row_R, length_R, mask=inside_R)
    place_RW = row_R.to(tl.int64)[:, None] * D + column_W[None, :]
    tl.store(operand + place_RW, row_RW.to(tl.float16), mask=inside_R[:, None] & (column_W < D)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _logits(image, text, scale, row_R, column_C, num_rows, num_columns, D: tl.constexpr, K: tl.constexpr):  # type: ignore[no-untyped-def]
    """One tile in units of ln 2; -inf outside the matrix."""
    inside_R, inside_C = row_R < num_rows, column_C < num_columns
    step_K = tl.arange(0, K)
    image_RK = image + tl.minimum(row_R, num_rows - 1).to(tl.int64)[:, None] * D + step_K[None, :]
    text_KC = text + tl.minimum(column_C, num_columns - 1).to(tl.int64)[None, :] * D + step_K[:, None]
    logits_RC = tl.zeros((row_R.shape[0], column_C.shape[0]), dtype=tl.float32)
    for start in range(0, D, K):
        logits_RC = tl.dot(tl.load(image_RK + start), tl.load(text_KC + start), logits_RC)
    logits_RC *= tl.load(scale) * _LOG2_E
    return tl.where(inside_R[:, None] & inside_C[None, :], logits_RC, -float("inf"))


@triton.jit
def _highest(values):  # type: ignore[no-untyped-def]
    """A vector's maximum as a number; by way of a matrix, as Triton 3.6 fails on a vector of tensor memory (sm_100)."""
    return tl.max(tl.reshape(values, (1, values.shape[0])))


@triton.jit  # type: ignore[untyped-decorator]
def _sum_exponentials(  # type: ignore[no-untyped-def]
    image, text, scale, row_max, row_sum, positive, tile_max, tile_sum, num_rows, num_columns, stretch, first_own,
    D: tl.constexpr, R: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """The softmax of R rows over a stretch of columns, and of each column over these rows, as maximum and sum."""
    row_R = tl.program_id(0) * R + tl.arange(0, R)
    first_own += tl.program_id(0) * R
    inside_R = row_R < num_rows
    max_R = tl.full((R,), -float("inf"), dtype=tl.float32)
    sum_R = tl.zeros((R,), dtype=tl.float32)
    pair_R = first_own + tl.arange(0, R)
    start = tl.program_id(1) * stretch
    stop = tl.minimum(start + stretch, num_columns)
    while start < stop:  # Triton's interpreter takes no tensors as a range's ends
        column_C = start + tl.arange(0, C)
        inside_C = column_C < num_columns
        logits_RC = _logits(image, text, scale, row_R, column_C, num_rows, num_columns, D, K)
        if (first_own < start + C) & (first_own + R > start):
            own_R = tl.sum(tl.where(column_C[None, :] == pair_R[:, None], logits_RC, 0.0), 1)
            is_here_R = (pair_R >= start) & (pair_R < tl.minimum(start + C, stop))
            tl.store(positive + row_R, own_R, mask=inside_R & is_here_R)
        max_C = tl.max(logits_RC, 0)
        tile_max_R = tl.max(logits_RC, 1)
        reference = _highest(max_C)
        tile_max_R = tl.where(inside_R, tile_max_R, reference)
        new_max_R = tl.maximum(max_R, tile_max_R)
        sum_R *= tl.exp2(max_R - new_max_R)
        depth_C = tl.where(inside_C, reference - max_C, 0.0)
        if tl.maximum(_highest(reference - tile_max_R), _highest(depth_C)) < _SAFE:
            exponential_RC = tl.exp2(logits_RC - reference)
            sum_R += tl.sum(exponential_RC, 1) * tl.exp2(reference - new_max_R)
            sum_C = tl.sum(exponential_RC, 0) * tl.exp2(reference - max_C)
        else:
            sum_R += tl.sum(tl.exp2(logits_RC - new_max_R[:, None]), 1)
            sum_C = tl.sum(tl.exp2(logits_RC - max_C[None, :]), 0)
        max_R = new_max_R
        first_partial = tl.program_id(0).to(tl.int64) * num_columns + start
        tl.store(tile_max + first_partial + tl.arange(0, C), max_C, mask=inside_C)
        tl.store(tile_sum + first_partial + tl.arange(0, C), sum_C, mask=inside_C)
        start += C
    partial_R = tl.program_id(1) * num_rows + row_R
    tl.store(row_max + partial_R, max_R, mask=inside_R)
    tl.store(row_sum + partial_R, sum_R, mask=inside_R)


@triton.jit  # type: ignore[untyped-decorator]
def _fill_panel(  # type: ignore[no-untyped-def]
    image, text, scale, row_max, row_sum, column_max, column_sum, grad_PQ, num_rows, num_columns, first_own,
    D: tl.constexpr, R: tl.constexpr, C: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One tile of G = softmax over the row + softmax over the column - 2·[diagonal], times GRAD_UNIT."""
    row_R = tl.program_id(1) * R + tl.arange(0, R)
    column_C = tl.program_id(0) * C + tl.arange(0, C)
    inside_R, inside_C = row_R < num_rows, column_C < num_columns
    logits_RC = _logits(image, text, scale, row_R, column_C, num_rows, num_columns, D, K)
    reference = _highest(tl.max(logits_RC, 1))
    max_R = tl.load(row_max + row_R, mask=inside_R, other=float("inf"))
    max_C = tl.load(column_max + column_C, mask=inside_C, other=float("inf"))
    share_R = _GRAD_UNIT / tl.load(row_sum + row_R, mask=inside_R, other=1.0)
    share_C = _GRAD_UNIT / tl.load(column_sum + column_C, mask=inside_C, other=1.0)
    if tl.maximum(_highest(reference - max_R), _highest(reference - max_C)) < _SAFE:
        weight_R = tl.exp2(reference - max_R) * share_R
        weight_C = tl.exp2(reference - max_C) * share_C
        grad_RC = tl.exp2(logits_RC - reference) * (weight_R[:, None] + weight_C[None, :])
    else:
        grad_RC = tl.exp2(logits_RC - max_R[:, None]) * share_R[:, None]
        grad_RC += tl.exp2(logits_RC - max_C[None, :]) * share_C[None, :]
    grad_RC -= tl.where(column_C[None, :] == row_R[:, None] + first_own, 2 * _GRAD_UNIT, 0.0)
    place_RC = row_R[:, None] * num_columns + column_C[None, :]  # a panel has less than 2^31
    tl.store(grad_PQ + place_RC, grad_RC.to(tl.float16), mask=inside_R[:, None] & inside_C[None, :])
