from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from helpers import tasks
from helpers.floor import Bench, contents
from helpers.patience import patience
from helpers.processes import descendants, gone, kill, start, wait_until
from openwit.errors import ConfigError, WorkError
from openwit.executors.executor import Executor, ExecutorConfig, Failure, LocalExecutor, RayExecutor, open_executor

LOCAL = ExecutorConfig(workers=2)
RAY = ExecutorConfig(kind="ray", workers=2)


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "local":
        return LocalExecutor(LOCAL.workers, LOCAL.attempts)
    found = request.getfixturevalue("ray_here")
    assert isinstance(found, RayExecutor)
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench").prepare()


def fresh(bench: Bench) -> dict[str, bytes]:
    """What an undisturbed run gives."""
    bench.run(bench.root / "fresh")
    bench.tries()
    return contents(bench.root / "fresh")


def test_every_task_comes_back_once_with_its_result(executor: Executor) -> None:
    assert dict(executor.map(tasks.square, range(20))) == {n: n * n for n in range(20)}
    assert list(executor.map(tasks.square, [])) == []


def test_an_error_is_retried_then_comes_back_as_one_line_with_its_traceback(executor: Executor, tmp_path: Path) -> None:
    ((_, outcome),) = executor.map(tasks.fail, [tmp_path / "tries"])
    assert isinstance(outcome, Failure)
    assert outcome.error == "KeyError: 'two lines'"
    assert "tasks.py" in outcome.traceback
    assert len((tmp_path / "tries").read_text()) == 3


def test_an_error_meant_for_the_user_and_a_full_disk_are_not_retried(executor: Executor, tmp_path: Path) -> None:
    outcomes = dict(executor.map(tasks.refuse, [tmp_path / "input", tmp_path / "disk"]))
    errors = {path.name: outcome.error for path, outcome in outcomes.items() if isinstance(outcome, Failure)}
    assert errors == {"input": "x.wat: no such file", "disk": "no space left on the disk (writing x.tar)"}
    assert all(len(path.read_text()) == 1 for path in outcomes)


def test_a_killed_worker_costs_its_own_task_an_attempt_and_no_other_anything(
    executor: Executor, tmp_path: Path
) -> None:
    names = ["die", *(f"live-{number}" for number in range(8))]
    outcomes = dict(executor.map(tasks.die_or_live, [tmp_path / name for name in names]))
    lost = outcomes.pop(tmp_path / "die")
    assert isinstance(lost, Failure)
    assert "worker" in lost.error
    assert "died" in lost.error
    assert len((tmp_path / "die").read_text()) == 3
    assert all(outcome == 1 for outcome in outcomes.values())


def test_what_a_step_caches_lives_as_long_as_its_worker(executor: Executor) -> None:
    built = [outcome for _, outcome in executor.map(tasks.cached_state, range(12))]
    assert 1 <= len(set(map(str, built))) <= 2


def test_a_task_that_cannot_be_sent_back_is_a_failure_not_a_hang(executor: Executor) -> None:
    ((_, outcome),) = executor.map(tasks.unsendable, [1])
    assert isinstance(outcome, Failure)
    assert len(outcome.error.splitlines()) == 1


def test_stopping_early_leaves_no_local_worker(tmp_path: Path) -> None:
    before = descendants(os.getpid())
    results = LocalExecutor(LOCAL.workers, LOCAL.attempts).map(
        tasks.wait_for, [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    )
    (tmp_path / "a").touch()
    assert next(results) == (tmp_path / "a", "a")
    workers = [p for p in descendants(os.getpid()) if p not in before and "spawn_main" in " ".join(p.cmdline())]
    assert workers
    close = getattr(results, "close", None)
    assert callable(close)
    close()
    assert gone(workers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers=0: must be at least 1"),
        ({"attempts": 0}, "attempts=0: must be at least 1"),
        ({"address": "auto"}, "address=auto: only Ray has an address"),
        ({"kind": "ray", "address": "head"}, "write auto, host:port or ray://host:port"),
        ({"kind": "ray", "address": "http://head:10001"}, "write auto, host:port or ray://host:port"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LOCAL, **changes)  # type: ignore[arg-type]


def test_worker_count_and_executor_do_not_show_in_the_outputs(bench: Bench, ray_here: Executor) -> None:
    wanted = fresh(bench)
    for number, config in enumerate([replace(base, workers=w) for base in (LOCAL, RAY) for w in (1, 2, 3)]):
        folder = bench.root / f"out-{number}"
        bench.run(folder, executor=config)
        assert contents(folder) == wanted
    assert len(wanted) == 6


LISTENING = """
import contextlib, os, psutil
from helpers import tasks
from helpers.processes import descendants
from openwit.executors.executor import ExecutorConfig, open_executor

if __name__ == "__main__":
    with open_executor(ExecutorConfig(kind="ray", workers=2)) as executor:
        assert dict(executor.map(tasks.square, [2])) == {2: 4}
        for process in descendants(os.getpid()):
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                for c in process.net_connections("inet"):
                    if c.status == psutil.CONN_LISTEN:
                        print("listens", c.laddr.ip)
"""


@pytest.mark.slow
def test_ray_on_this_machine_listens_on_loopback_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(["-c", LISTENING], log)  # a process of its own: Ray decides at its first import
    assert process.wait(timeout=120) == 0, log.read_text()
    listening = {line.split()[1] for line in log.read_text().splitlines() if line.startswith("listens ")}
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


STARTING = """
from openwit.errors import WorkError
from openwit.executors.executor import ExecutorConfig, open_executor

try:
    with open_executor(ExecutorConfig(kind="ray")):
        print("started")
except WorkError as error:
    print(error)
"""


def test_ray_that_does_not_start_is_tried_again_then_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 120)))  # no socket's name may be so long
    log = tmp_path / "log"
    assert start(["-uc", STARTING], log).wait(timeout=120) == 0
    *again, last = [line for line in log.read_text().splitlines() if line.startswith("Ray ")]
    assert re.fullmatch(r"Ray does not start \(.+\)", last)
    assert len(again) == 2
    assert all(re.fullmatch(r"Ray did not start \(.+\); trying again", line) for line in again)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "auto"])
def test_an_address_where_no_cluster_answers_is_one_line_soon(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started = time.monotonic()
    with pytest.raises(WorkError) as caught, open_executor(replace(RAY, address=address)):
        pass
    assert time.monotonic() - started < patience(20)
    assert str(caught.value).startswith(f"executor.address={address}: no Ray cluster ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_after_kill_9_of_worker_and_driver_the_same_command_ends_in_the_same_bytes(bench: Bench, kind: str) -> None:
    wanted = fresh(bench)
    out, log = bench.root / "out", bench.root / "output.txt"
    command = ["-m", "helpers.floor", str(bench.root), str(out), kind, "2"]

    with bench.signal("hold-1"), bench.signal("hold-3"):
        driver = start(command, log)
        wait_until(lambda: (bench.signals / "held-1").exists() and (out / "00000.json").exists())
        kill(int((bench.signals / "held-1").read_text()))
        wait_until(lambda: (bench.signals / "held-3").exists())
        below = descendants(driver.pid)
        working = {int(pid) for path in bench.signals.glob("tries-*") for pid in path.read_text().split()}
        kill(driver.pid)
        driver.wait()
        # Ray's agents and a worker that was only starting try for a minute to reach what has gone; no task is theirs
        idle = [process for process in below if kind == "ray" and process.pid not in working]
        wait_until(lambda: gone([process for process in below if process not in idle]), timeout_s=20)
    assert not (out / "manifest.json").exists()
    finished = {int(path.stem) for path in out.glob("?????.json")}
    assert 0 in finished
    assert not {1, 3} & finished
    bench.tries()

    again = start(command, log)
    assert again.wait() == 0, log.read_text()
    assert set(bench.tries()) == set(range(5)) - finished
    assert contents(out) == wanted
    assert not (out / ".scratch").exists()
    for process in idle:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("reached_by", ["driver", "client"])
def test_a_lost_ray_node_loses_no_partition_and_spare_workers_do_not_stall(bench: Bench, reached_by: str) -> None:
    """Two nodes of one CPU on this machine, four workers wanted; the second node goes while it works. A client, at
    ray://, is no part of the cluster: it does its work through a server on the first node."""
    wanted = fresh(bench)
    out, log = bench.root / "out", bench.root / "output.txt"
    with bench.signal("hold-0"), bench.signal("hold-1"):
        cluster = start(["-m", "helpers.ray_cluster", str(bench.root), reached_by], log)
        wait_until(lambda: (bench.root / "address").exists())
        address = (bench.root / "address").read_text()
        assert address.startswith("ray://") == (reached_by == "client")
        driver = start(["-m", "helpers.floor", str(bench.root), str(out), "ray", "4", address], log)
        wait_until(lambda: all((bench.signals / f"held-{i}").exists() for i in (0, 1)))
        (bench.root / "remove").touch()
        wait_until(lambda: (bench.root / "removed").exists())
    assert driver.wait() == 0, log.read_text()
    assert contents(out) == wanted
    tries = Counter(bench.tries())
    assert sum(tries.values()) == 6
    below = descendants(cluster.pid)
    (bench.root / "stop").touch()
    assert cluster.wait() == 0
    wait_until(lambda: gone(below))
