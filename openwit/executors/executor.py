"""Where tasks run: processes of this machine, or Ray on one machine or a cluster. Tasks know nothing of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from openwit.errors import ConfigError
from openwit.executors.attempt import Failure
from openwit.executors.local import LocalExecutor
from openwit.executors.ray import RayExecutor, ray_connection

__all__ = ["Executor", "ExecutorConfig", "Failure", "LocalExecutor", "RayExecutor", "open_executor"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the partitions of a stage are worked on."""

    kind: Literal["local", "ray"] = "local"  # processes of this machine, or Ray
    workers: int = 2  # processes or Ray actors at once
    address: str = ""  # of a Ray cluster: auto, host:port on one of its nodes, else ray://host:10001; empty: Ray here
    attempts: int = 3  # tries of a partition whose worker died or whose work failed

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: must be at least 1")
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: must be at least 1")
        if self.address and self.kind != "ray":
            raise ConfigError(f"address={self.address}: only Ray has an address; set kind=ray too")
        if self.address not in ("", "auto") and not re.fullmatch(r"(ray://)?[^/]+:\d+", self.address):
            known = "auto, host:port or ray://host:port"
            raise ConfigError(f"address={self.address}: is no address of a Ray cluster; write {known}")


class Executor(Protocol):
    """Runs a function over tasks."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """Each task with its result, or with a Failure when all attempts are used up, in the order of completion."""
        ...


@contextlib.contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The executor that the config names; its workers are stopped afterwards."""
    if config.kind == "local":
        local = LocalExecutor(config.workers, config.attempts)
        try:
            yield local
        finally:
            local.close()
        return
    with ray_connection(config.address, config.workers):
        yield RayExecutor(config.workers, config.attempts)
