"""The processes of one training: which of them this is, on which device, and the little that they tell each other."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from openwit.errors import ConfigError

T = TypeVar("T")
TIMEOUT = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """This process among `num_ranks`."""

    rank: int
    num_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in the order of ranks; all must ask."""
        values: list[T | None] = [None] * self.num_ranks
        dist.all_gather_object(values, value)
        return cast(list[T], values)


@contextlib.contextmanager
def join_ranks(device: str, section: str = "pretrain") -> Iterator[Ranks]:
    """Joins the process group that torchrun's environment describes, and leaves it afterwards; a group that is there
    already (Ray Train makes one) is taken as it is. `section` is the recipe's, for messages.

    Raises ConfigError where there are fewer GPUs than ranks.
    """
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        num_gpus = torch.cuda.device_count()
        if local >= num_gpus:
            advice = f"--{section}.ranks {num_gpus}" if num_gpus else f"--{section}.device cpu"
            raise ConfigError(
                f"{section}.device=cuda: this machine has {num_gpus} GPUs for {os.environ['LOCAL_WORLD_SIZE']} ranks; "
                f"write {advice}"
            )
        torch.cuda.set_device(local)
    place = torch.device(device, local) if device == "cuda" else torch.device("cpu")
    if dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size(), place)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()
