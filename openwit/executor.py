"""Where tasks run: processes of this machine, or Ray on one machine or a cluster. Tasks know nothing of it."""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import pickle
import re
import signal
import socket
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from openwit.errors import ConfigError, InputError, OpenwitError, WorkError, one_line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the partitions of a stage are worked on."""

    kind: Literal["local", "ray"] = "local"  # processes of this machine, or Ray
    workers: int = 2  # processes or Ray actors at once
    address: str = ""  # of an existing Ray cluster, auto or host:port, e.g. head:6379; empty: Ray on this machine
    attempts: int = 3  # tries of a partition whose worker died or whose work failed

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: must be at least 1")
        if self.attempts < 1:
            raise ConfigError(f"attempts={self.attempts}: must be at least 1")
        if self.address and self.kind != "ray":
            raise ConfigError(f"address={self.address}: only Ray has an address; set kind=ray too")
        if self.address not in ("", "auto") and not re.fullmatch(r"[^/]+:\d+", self.address):
            raise ConfigError(f"address={self.address}: is no address of a Ray cluster; write auto or host:port")


@dataclass(frozen=True)
class Failure:
    """Why a task did not succeed: one line, and the traceback for the log."""

    error: str
    traceback: str = ""
    final: bool = False  # trying again cannot help
    bad_input: bool = False  # the fault lies in what the user gave


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
        bad_input = isinstance(error, (ConfigError, InputError))
        return Failure(str(error), traceback.format_exc(), final=True, bad_input=bad_input)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f" (writing {error.filename})" if error.filename else ""
        text = f"no space left on the disk{where}" if full else f"{type(error).__name__}: {error}"
        return Failure(one_line(text), traceback.format_exc(), final=full)
    except Exception as error:  # the boundary to the user's run: reported by name, retried, never swallowed
        return Failure(one_line(f"{type(error).__name__}: {error}"), traceback.format_exc())


class LocalExecutor:
    """Spawned processes of this machine. A killed worker costs its task one attempt, and no other task anything."""

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See Executor.map."""
        waiting = deque((task, 1) for task in tasks)
        idle = [_LocalWorker() for _ in range(min(self.config.workers, len(tasks)))]
        running: dict[Connection, tuple[_LocalWorker, T, int]] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    worker, (task, attempt) = idle.pop(), waiting.popleft()
                    worker.start(function, task)
                    running[worker.connection] = worker, task, attempt
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    worker, task, attempt = running.pop(ready)
                    outcome: R | Failure = worker.outcome()
                    idle.append(worker)
                    if isinstance(outcome, Failure) and not outcome.final and attempt < self.config.attempts:
                        waiting.append((task, attempt + 1))
                    else:
                        yield task, outcome
            for worker in idle:
                worker.dismiss()
        finally:  # also when whoever reads the results stops early, or is interrupted
            for worker in [*idle, *(entry[0] for entry in running.values())]:
                worker.kill()


class _LocalWorker:
    """A process that does one task after another; it starts with its first, and again after it died."""

    _context: SpawnContext = multiprocessing.get_context("spawn")
    connection: Connection

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self, function: Callable[[T], R], task: T) -> None:
        """Hands the task over."""
        if self._process is not None:
            try:
                self.connection.send((function, task))
                return
            except OSError:  # it died while it had nothing to do
                self.kill()
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()
        with contextlib.suppress(OSError):  # it died at once; `outcome` tells
            self.connection.send((function, task))

    def outcome(self) -> Any:
        """What came of the task: the function's result, or a Failure."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            assert self._process is not None
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was killed by signal {-code}; out of memory?" if code < 0 else f"ended with exit code {code}"
            self.kill()
            return Failure(f"its worker process died ({how})")

    def dismiss(self) -> None:
        """The process ends by itself, in order."""
        if self._process is not None:
            self.connection.close()
            self._process.join(timeout=5)
            self.kill()

    def kill(self) -> None:
        """The process is gone, whatever it was doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.connection.close()
            self._process = None


def _serve(connection: Connection) -> None:
    """The worker process: runs what it is sent until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            function, task = connection.recv()
        except EOFError:
            return
        except Exception as error:  # a task or function that cannot be unpickled here
            connection.send(Failure(one_line(f"{type(error).__name__}: {error}"), traceback.format_exc()))
            continue
        outcome = _attempt(function, task)
        try:
            connection.send(outcome)
        except (TypeError, AttributeError, ValueError, pickle.PicklingError) as error:
            text = one_line(f"its result cannot be sent back ({type(error).__name__}: {error})")
            connection.send(Failure(text, traceback.format_exc(), final=True))


def _die_with_parent() -> None:
    """A worker of a killed run must not live on: it watches its parent and leaves with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _ray_connection(config: ExecutorConfig) -> Iterator[None]:
    address = _ray_address(config.address)
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
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",  # not the cluster that RAY_ADDRESS names
                num_cpus=config.workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
    except (OSError, RuntimeError, ValueError, SystemExit) as error:  # ConnectionError is an OSError
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = f"executor.address={config.address}: Ray does not answer" if address else "Ray does not start"
        raise WorkError(f"{what} ({text})") from None
    try:
        yield
    finally:
        ray.shutdown()


def _ray_address(address: str) -> str:
    """host:port of the cluster, once something listens there: Ray itself would try for minutes, then exit."""
    where = address
    if address == "auto":
        current = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
        where = os.environ.get("RAY_ADDRESS") or (current.read_text().strip() if current.exists() else "")
        if not where:
            raise WorkError("executor.address=auto: no Ray cluster runs on this machine; start one with ray start")
    if where:
        host, _, port = where.rpartition(":")
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
        return _attempt(function, task)


class RayExecutor:
    """Ray actors, one CPU each. A dead actor (or node) costs its task one attempt; a new actor takes over.

    Only an actor that runs gets a task: on a cluster with fewer free CPUs than `workers` the others do all of it.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See Executor.map."""
        import ray

        shared = ray.put(function)
        waiting = deque((task, 1) for task in tasks)
        actors = _RayActors(min(self.config.workers, len(tasks)))
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
                if isinstance(outcome, Failure) and not outcome.final and attempt < self.config.attempts:
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
