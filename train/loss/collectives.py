"""The few collectives that the losses need; each is the identity where there is one process.

Shapes: W ranks · B rows of one rank · N = W·B rows of all · D embedding. Row r·B + b of N is row b of rank r.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

Group = dist.ProcessGroup | None


def ranks_of(group: Group) -> tuple[int, int]:
    """This process's rank and the number of ranks; `group` None is the default group, or one process without it."""
    if group is None and not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


def gather_rows(rows_BD: Tensor, group: Group) -> Tensor:
    """[N, D]: the rows of all ranks, in the order of the ranks; not differentiable."""
    _, world = ranks_of(group)
    rows_BD = rows_BD.detach().contiguous()
    if world == 1:
        return rows_BD
    rows_ND = rows_BD.new_empty(world * rows_BD.shape[0], *rows_BD.shape[1:])
    dist.all_gather_into_tensor(rows_ND, rows_BD, group=group)
    return rows_ND


def scatter_row_sums(rows_ND: Tensor, group: Group) -> Tensor:
    """[B, D]: the sum over ranks of the rows that this rank owns."""
    _, world = ranks_of(group)
    if world == 1:
        return rows_ND
    rows_BD = rows_ND.new_empty(rows_ND.shape[0] // world, *rows_ND.shape[1:])
    dist.reduce_scatter_tensor(rows_BD, rows_ND.contiguous(), group=group)
    return rows_BD


def sum_over_ranks(values: Tensor, group: Group) -> Tensor:
    """The sum of the ranks' tensors, the same on each rank."""
    if ranks_of(group)[1] > 1:
        dist.all_reduce(values, dist.ReduceOp.SUM, group=group)
    return values


def add_exponentials_over_ranks(highest: Tensor, exp_sum: Tensor, unit: float, group: Group) -> tuple[Tensor, Tensor]:
    """The sum over ranks of exp(unit·highest)·exp_sum, elementwise, in the same two parts: the overall highest and the
    sum of exponentials below it."""
    if ranks_of(group)[1] == 1:
        return highest, exp_sum
    overall = highest.clone()
    dist.all_reduce(overall, dist.ReduceOp.MAX, group=group)
    return overall, sum_over_ranks(exp_sum * ((highest - overall) * unit).exp(), group)


def require_equal_rows(rows_BD: Tensor, group: Group) -> None:
    """Raises ValueError, on every rank alike, unless all ranks hold as many rows of the same width."""
    _, world = ranks_of(group)
    if world > 1:
        shapes = gather_rows(torch.tensor(rows_BD.shape, device=rows_BD.device)[None], group).tolist()
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"features of shapes {shapes} on ranks 0 to {world - 1}: each rank must bring the same")


class GatherRows(torch.autograd.Function):
    """`gather_rows` with a gradient: each rank gets the sum of what all ranks ask of its rows."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows_BD: Tensor, group: Group) -> Tensor:
        ctx.group = group  # type: ignore[attr-defined]
        return gather_rows(rows_BD, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_ND: Tensor) -> tuple[Tensor, None]:
        return scatter_row_sums(grad_ND, ctx.group), None  # type: ignore[attr-defined]
