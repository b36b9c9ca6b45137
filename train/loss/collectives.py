"""The few collectives that the losses need; each is the identity where there is one process.

Shapes: W ranks · B rows of one rank · N = W·B rows of all · D embedding. Row r·B + b of N is row b of rank r.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple

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


def start_gather_rows(rows_BD: Tensor, group: Group) -> Callable[[], Tensor]:
    """Begins `gather_rows`; calling what comes back waits for the end. On a GPU its stream waits, not this process."""
    _, world = ranks_of(group)
    rows_BD = rows_BD.detach().contiguous()
    if world == 1:
        return lambda: rows_BD
    rows_ND = rows_BD.new_empty(world * rows_BD.shape[0], *rows_BD.shape[1:])
    return _when_done(dist.all_gather_into_tensor(rows_ND, rows_BD, group=group, async_op=True), rows_ND)


def gather_rows(rows_BD: Tensor, group: Group) -> Tensor:
    """[N, D]: the rows of all ranks, in the order of the ranks; not differentiable."""
    return start_gather_rows(rows_BD, group)()


def start_scatter_row_sums(rows_ND: Tensor, group: Group) -> Callable[[], Tensor]:
    """Begins `scatter_row_sums`, as `start_gather_rows` does; nobody may write to `rows_ND` until its end."""
    _, world = ranks_of(group)
    if world == 1:
        return lambda: rows_ND
    rows_ND = rows_ND.contiguous()
    rows_BD = rows_ND.new_empty(rows_ND.shape[0] // world, *rows_ND.shape[1:])
    return _when_done(dist.reduce_scatter_tensor(rows_BD, rows_ND, group=group, async_op=True), rows_BD)


def scatter_row_sums(rows_ND: Tensor, group: Group) -> Tensor:
    """[B, D]: the sum over ranks of the rows that this rank owns."""
    return start_scatter_row_sums(rows_ND, group)()


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


class _Agreed(NamedTuple):
    shape: tuple[int, ...]
    shape_on_device: Tensor


_AGREED: weakref.WeakKeyDictionary[dist.ProcessGroup, _Agreed] = weakref.WeakKeyDictionary()


def require_equal_rows(rows_BD: Tensor, group: Group) -> None:
    """Raises ValueError unless all ranks hold as many rows of the same width: on CPUs and at a group's first call on
    every rank alike, later on GPUs on those ranks whose shape is no longer the one that all last agreed on.

    For to read what others have, a GPU's process waits until the GPU has done all that it was given, which would cost
    each step its head start. A rank whose shape has changed does wait. The others go on and wait in the gather of
    features for ranks that never come to it, until the launcher, seeing those end, ends them too.
    """
    if ranks_of(group)[1] > 1:
        _agree(rows_BD, group or dist.distributed_c10d._get_default_group(), wait_always=not rows_BD.is_cuda)


def _agree(rows_BD: Tensor, group: dist.ProcessGroup, wait_always: bool) -> None:
    """The ranks may differ in whether they wait, so they all send their shapes, and each knows the same last agreed."""
    shape = tuple(rows_BD.shape)
    agreed = _AGREED.get(group)
    unchanged = agreed is not None and agreed.shape == shape and agreed.shape_on_device.device == rows_BD.device
    if agreed is None or not unchanged:
        agreed = _Agreed(shape, torch.tensor(shape, device=rows_BD.device))  # making it waits for the GPU, too
    shapes = gather_rows(agreed.shape_on_device[None], group)
    if unchanged and not wait_always:
        return
    found = shapes.tolist()
    if any(other != found[0] for other in found):
        raise ValueError(f"features of shapes {found} on ranks 0 to {len(found) - 1}: each rank must bring the same")
    _AGREED[group] = agreed


def _when_done(work: dist.Work, result: Tensor) -> Callable[[], Tensor]:
    def wait() -> Tensor:
        work.wait()
        return result

    return wait


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
