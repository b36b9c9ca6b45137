"""Where tasks run: processes of this machine, or Ray on one machine or a cluster. Tasks know nothing of it."""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from openwit.errors import ConfigError, OpenwitError, WorkError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the partitions of a stage are worked on."""

    kind: Literal["local", "ray"] = "local"  # processes of this machine, or Ray
    workers: int = 2  # processes or Ray actors at once
    address: str = ""  # of an existing Ray cluster, e.g. auto or ray://head:10001; empty: Ray on this machine
    attempts: int = 3  # tries of a partition whose worker died or whose work failed

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: must be at least 1")
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: must be at least 1")
        if self.address and self.kind != "ray":
            raise ConfigError(f"address={self.address}: only Ray has an address; set kind=ray too")


@dataclass(frozen=True)
class Failure:
    """Why a task did not succeed: one line, and the traceback for the log."""

    error: str
    traceback: str = ""
    final: bool = False  # trying again cannot help


class Executor(Protocol):
    """Runs a function over tasks."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """Each task with its result, or with a Failure when all attempts are used up, in the order of completion."""
        ...


@contextlib.contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The executor that the config names; its workers are stopped afterwards."""
    if config.kind == "local":
        yield LocalExecutor(config)
        return
    with _ray_connection(config):
        yield RayExecutor(config)


def _attempt(function: Callable[[T], R], task: T) -> R | Failure:
    """Runs in the worker: an error comes back as a value, with its text."""
    try:
        return function(task)
    except OpenwitError as error:
        return Failure(str(error), traceback.format_exc(), final=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f" (writing {error.filename})" if error.filename else ""
        text = f"no space left on the disk{where}" if full else f"{type(error).__name__}: {error}"
        return Failure(text, traceback.format_exc(), final=full)
    except Exception as error:  # the boundary to the user's run: reported by name, retried, never swallowed
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())


class LocalExecutor:
    """Spawned processes of this machine. A killed worker costs its task one attempt and no other task's result."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See Executor.map."""
        waiting = deque((task, 1) for task in tasks)
        while waiting:
            with self._pool(len(waiting)) as pool:
                yield from self._drain(pool, function, waiting)

    def _pool(self, num_tasks: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        workers = min(self.config.workers, num_tasks)
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent)

    def _drain(
        self, pool: ProcessPoolExecutor, function: Callable[[T], R], waiting: deque[tuple[T, int]]
    ) -> Iterator[tuple[T, R | Failure]]:
        """Runs until nothing waits or the pool is broken; then what was running waits again."""
        running: dict[Future[R | Failure], tuple[T, int]] = {}
        broken = False
        while running or (waiting and not broken):
            while waiting and not broken and len(running) < self.config.workers:
                task, attempt = waiting.popleft()
                try:
                    running[pool.submit(_attempt, function, task)] = (task, attempt)
                except BrokenProcessPool:
                    waiting.appendleft((task, attempt))
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, attempt = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    broken = True
                    outcome = Failure("its worker process died (killed, or out of memory)")
                if isinstance(outcome, Failure) and not outcome.final and attempt < self.config.attempts:
                    waiting.append((task, attempt + 1))
                else:
                    yield task, outcome


def _die_with_parent() -> None:
    """A worker of a killed run must not live on: it watches its parent and leaves with it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _ray_connection(config: ExecutorConfig) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if config.address:
            ray.init(address=config.address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",  # else Ray joins whatever cluster runs on this machine
                num_cpus=config.workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorkError(f"executor.address={config.address!r}: Ray does not answer ({text})") from None
    try:
        yield
    finally:
        ray.shutdown()


class _Worker:
    """The Ray actor: lives through many tasks, so that what a step caches is built once."""

    def run(self, function: Callable[[T], R], task: T) -> R | Failure:
        return _attempt(function, task)


class RayExecutor:
    """Ray actors, one CPU each. A dead actor (or node) costs its task one attempt; a new actor takes over."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See Executor.map."""
        import ray

        actor_class = ray.remote(num_cpus=1)(_Worker)
        shared = ray.put(function)
        waiting = deque((task, 1) for task in tasks)
        idle: list[Any] = [actor_class.remote() for _ in range(min(self.config.workers, len(tasks)))]
        running: dict[Any, tuple[Any, T, int]] = {}
        while waiting or running:
            while waiting and idle:
                actor = idle.pop()
                task, attempt = waiting.popleft()
                running[actor.run.remote(shared, task)] = (actor, task, attempt)
            (reference,), _ = ray.wait(list(running), num_returns=1)
            actor, task, attempt = running.pop(reference)
            try:
                outcome = ray.get(reference)
                idle.append(actor)
            except (ray.exceptions.RayActorError, ray.exceptions.RayTaskError, ray.exceptions.ObjectLostError) as error:
                outcome = Failure(f"its Ray worker died ({type(error).__name__})")
                idle.append(actor_class.remote())
            if isinstance(outcome, Failure) and not outcome.final and attempt < self.config.attempts:
                waiting.append((task, attempt + 1))
            else:
                yield task, outcome
        for actor in idle:
            ray.kill(actor)
