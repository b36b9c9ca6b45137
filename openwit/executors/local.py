"""Tasks in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

from openwit.errors import one_line
from openwit.executors.attempt import Failure, run_attempt

T = TypeVar("T")
R = TypeVar("R")


class LocalExecutor:
    """Spawned processes of this machine. A killed worker costs its task one attempt, and no other task anything.
    Workers wait for the next `map` (their imports take a second) until `close`, or until the executor is gone."""

    def __init__(self, workers: int, attempts: int) -> None:
        self.workers, self.attempts = workers, attempts
        self._idle: list[_LocalWorker] = []
        weakref.finalize(self, _dismiss, self._idle)

    def close(self) -> None:
        """Ends the workers; another `map` starts new ones."""
        _dismiss(self._idle)

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See openwit.executors.executor.Executor.map."""
        waiting = deque((task, 1) for task in tasks)
        idle = self._idle
        idle.extend(_LocalWorker() for _ in range(min(self.workers, len(tasks)) - len(idle)))
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
                    if isinstance(outcome, Failure) and not outcome.final and attempt < self.attempts:
                        waiting.append((task, attempt + 1))
                    else:
                        yield task, outcome
        finally:  # when whoever reads the results stops early, or is interrupted
            for worker, _, _ in running.values():
                worker.kill()


def _dismiss(workers: list[_LocalWorker]) -> None:
    while workers:
        workers.pop().dismiss()


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
        outcome = run_attempt(function, task)
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
