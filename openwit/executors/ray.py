"""Tasks in Ray actors, on one machine or a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from openwit.errors import WorkError, one_line
from openwit.executors.attempt import Failure, run_attempt
from openwit.storage.files import S3_ENDPOINT

T = TypeVar("T")
R = TypeVar("R")

_STARTS = 3  # of Ray on this machine, before it is given up


@contextlib.contextmanager
def ray_connection(address: str, workers: int) -> Iterator[None]:
    """Ray is connected to the cluster at the address, or runs here on `workers` CPUs. host:port makes this process a
    driver on one of the cluster's nodes; ray://host:port reaches the server of Ray's client from anywhere. Raises
    WorkError where it does not answer."""
    given, address = address, _ray_address(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address or address.startswith(("127.", "localhost:")):
        # Despite its name: without it Ray replaces 127.0.0.1 by the machine's outer address, and listens there. Ray
        # reads it at its first import.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    if address:
        try:
            _join(address)
        except (Exception, SystemExit) as error:  # Ray raises whatever its version likes
            raise WorkError(f"executor.address={given}: Ray does not answer ({_said(error)})") from None
    else:
        _start_here(workers)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    import ray

    told = {name: os.environ[name] for name in (S3_ENDPOINT,) if name in os.environ}
    environment = {"env_vars": told} if told else None
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)


def _start_here(workers: int) -> None:
    """Ray runs on this machine. A start that fails is made again: Ray gives its own processes half a minute, which on a
    busy machine (where a killed run's processes still end, say) may be too little."""
    import ray

    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",  # not the cluster that RAY_ADDRESS names
                num_cpus=workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            return
        except (Exception, SystemExit) as error:
            ray.shutdown()
            if not left:
                raise WorkError(f"Ray does not start ({_said(error)})") from None
            print(f"Ray did not start ({_said(error)}); trying again", file=sys.stderr, flush=True)


def _said(error: BaseException) -> str:
    """One line of what Ray says."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if "Traceback" in str(error) else lines[0]  # Ray's client server sends a whole traceback


def _ray_address(address: str) -> str:
    """The cluster's address, once something listens there: Ray itself would try for minutes, then exit."""
    where = address
    if address == "auto":
        current = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
        where = os.environ.get("RAY_ADDRESS") or (current.read_text().strip() if current.exists() else "")
        if not where:
            raise WorkError("executor.address=auto: no Ray cluster runs on this machine; start one with ray start")
    if where:
        host, _, port = where.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise WorkError(f"executor.address={address}: no Ray cluster answers at {where} ({error})") from None
    return where


class _RayWorker:
    """The Ray actor: lives through many tasks, so that what a step caches is built once."""

    def ready(self) -> None:
        """Returns once the actor runs."""

    def run(self, function: Callable[[T], R], task: T) -> R | Failure:
        """The function's result, or a Failure."""
        return run_attempt(function, task)


class RayExecutor:
    """Ray actors, one CPU each. A dead actor (or node) costs its task one attempt; a new actor takes over.

    Only an actor that runs gets a task: on a cluster with fewer free CPUs than `workers` the others do all of it.
    """

    def __init__(self, workers: int, attempts: int) -> None:
        self.workers, self.attempts = workers, attempts

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See openwit.executors.executor.Executor.map."""
        import ray

        shared = ray.put(function)
        waiting = deque((task, 1) for task in tasks)
        actors = _RayActors(min(self.workers, len(tasks)))
        running: dict[Any, tuple[Any, T, int]] = {}
        try:
            while waiting or running:
                while waiting and actors.idle:
                    actor, (task, attempt) = actors.idle.pop(), waiting.popleft()
                    running[actor.run.remote(shared, task)] = actor, task, attempt
                (reference,), _ = ray.wait([*running, *actors.starting], num_returns=1)
                if reference in actors.starting:
                    actors.started(reference)
                    continue
                actor, task, attempt = running.pop(reference)
                outcome: R | Failure
                try:
                    outcome = ray.get(reference)
                    actors.idle.append(actor)
                except ray.exceptions.RayTaskError as error:  # e.g. the function's module is not installed there
                    outcome = Failure(one_line(f"{type(error.cause).__name__}: {error.cause}"), str(error))
                    actors.idle.append(actor)
                except ray.exceptions.RayError as error:
                    outcome = Failure(f"its Ray worker died ({type(error).__name__})")
                    actors.replace(actor)
                if isinstance(outcome, Failure) and not outcome.final and attempt < self.attempts:
                    waiting.append((task, attempt + 1))
                else:
                    yield task, outcome
        finally:
            for actor in [*actors.idle, *actors.starting.values(), *(entry[0] for entry in running.values())]:
                ray.kill(actor)


class _RayActors:
    """The actors that have nothing to do, and those that Ray has yet to start."""

    most_failed_starts = 10

    def __init__(self, number: int) -> None:
        import ray

        self._class = ray.remote(num_cpus=1)(_RayWorker)
        self.idle: list[Any] = []
        self.starting: dict[Any, Any] = {}
        self.failed_starts = 0
        for _ in range(number):
            self._start()

    def _start(self) -> None:
        actor: Any = self._class.remote()
        self.starting[actor.ready.remote()] = actor

    def started(self, reference: Any) -> None:
        """Takes over an actor whose start has ended, well or not. Raises WorkError where none ever starts."""
        import ray

        actor = self.starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts > self.most_failed_starts:
                raise WorkError(f"Ray workers do not start ({one_line(str(error))})") from None
            self.replace(actor)
            return
        self.failed_starts = 0
        self.idle.append(actor)

    def replace(self, actor: Any) -> None:
        """Makes sure that the actor is gone (it may only be out of reach), and has another started."""
        import ray

        ray.kill(actor)
        self._start()
