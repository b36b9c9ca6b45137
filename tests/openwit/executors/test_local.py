from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from helpers import tasks
from helpers.processes import descendants, gone
from openwit.executors.local import LocalExecutor

ROOT = Path(__file__).parents[3]


def states(executor: LocalExecutor) -> set[str]:
    """What the workers that did six tasks hold."""
    return {str(state) for _, state in executor.map(tasks.cached_state, range(6))}


def workers_since(before: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in descendants(os.getpid()) if p not in before and "spawn_main" in " ".join(p.cmdline())]


def test_workers_are_kept_for_the_next_tasks_until_the_executor_is_closed() -> None:
    before = descendants(os.getpid())
    executor = LocalExecutor(1, attempts=1)
    first = states(executor)
    assert states(executor) == first
    workers = workers_since(before)
    assert len(workers) == 1
    executor.close()
    assert gone(workers)
    assert states(executor) != first
    executor.close()


def test_a_forgotten_executor_leaves_no_worker() -> None:
    before = descendants(os.getpid())
    executor = LocalExecutor(2, attempts=1)
    states(executor)
    workers = workers_since(before)
    assert workers
    del executor
    assert gone(workers)


def test_a_worker_that_died_while_it_had_nothing_to_do_costs_nothing() -> None:
    before = descendants(os.getpid())
    executor = LocalExecutor(1, attempts=1)
    first = states(executor)
    for worker in workers_since(before):
        worker.kill()
        worker.wait()
    assert len(states(executor) - first) == 1
    executor.close()


def test_ctrl_c_reaches_the_whole_group_and_the_driver_alone_decides(tmp_path: Path) -> None:
    driver = f"""
import os, signal, sys
from helpers import tasks
from openwit.executors.local import LocalExecutor
signal.signal(signal.SIGINT, signal.SIG_IGN)  # this driver goes on
executor = LocalExecutor(2, attempts=1)
paths = [{str(tmp_path)!r} + f"/{{number}}" for number in range(4)]
print(*(outcome for _, outcome in executor.map(tasks.interrupt_group, paths)))
executor.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", driver], capture_output=True, text=True, timeout=120, check=False,
        start_new_session=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )  # fmt: skip
    assert done.stdout.split() == ["done"] * 4, done.stderr
