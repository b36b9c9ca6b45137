"""SIGKILL at random moments of a crawl, on local processes, on Ray and on an object store: one of each kind, with --all
about 20; OPENWIT_KILLS=100 kills more often."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from helpers import crawl_run, flaky_proxy, processes, s3_server, web
from helpers.matrices import ALL
from openwit import storage
from openwit.executors.executor import ExecutorConfig

KILLS = int(os.environ.get("OPENWIT_KILLS", "20" if ALL else "0"))
NUM_SHARDS = max(24, 10 + KILLS)
PATHS = [f"ok/{n % 97}?{n}" if n % 10 else f"status/404?{n}" for n in range(NUM_SHARDS * crawl_run.SHARD_ROWS)]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with web.running(delay_s=0.05) as number:
        yield number


@pytest.fixture(scope="module")
def undisturbed(port: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    work = str(tmp_path_factory.mktemp("undisturbed"))
    crawl_run.prepare(work, PATHS)
    crawl_run.crawl(work, port, ExecutorConfig(workers=2))
    return crawl_run.content(work)


def start(work: str, port: int, kind: str, log: Path) -> processes.Process:
    return processes.start(["-m", "helpers.crawl_run", work, str(port), kind, "2"], log)


def workers_of(driver: processes.Process, mark: str) -> list[psutil.Process]:
    """The processes that work on shards, by a word of their command line."""
    found = []
    for process in processes.descendants(driver.pid):
        try:
            if mark in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue  # it has just ended
    return found


def kill_again_and_again(work: str, port: int, kind: str, kills: Sequence[str], log: Path) -> int:
    """Kills the driver or a worker, at moments that chance chooses, until all kills are done or the crawl is; then lets
    it finish. How many kills there were. On Ray the next driver starts beside what is left of the killed one: Ray's
    agents try for a minute to reach what has gone."""
    chance, mark = random.Random(7), {"local": "spawn_main", "ray": "ray::_RayWorker"}[kind]
    driver, done = start(work, port, kind, log), 0
    for victim in kills:
        processes.wait_until(lambda: bool(workers_of(driver, mark)) or driver.poll() is not None)  # noqa: B023
        time.sleep(chance.uniform(0.0, 1.5))
        if driver.poll() is not None:
            break
        alive = workers_of(driver, mark)
        below = processes.descendants(driver.pid)
        if victim == "driver":
            processes.kill(driver.pid)
            driver.wait(timeout=20)
            if kind == "local":
                processes.wait_until(lambda: processes.gone(below), timeout_s=30)  # noqa: B023
            driver = start(work, port, kind, log)
        elif alive:
            processes.kill(chance.choice(alive).pid)
        done += 1
    assert driver.wait(timeout=150) == 0, log.read_text()[-3000:]
    return done


@pytest.mark.slow
def test_a_crawl_killed_at_any_moment_ends_as_if_undisturbed(
    undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    work = str(tmp_path / "work")
    crawl_run.prepare(work, PATHS)
    kills = [("worker", "driver", "worker")[number % 3] for number in range(max(2, KILLS * 13 // 20))]
    assert kill_again_and_again(work, port, "local", kills, tmp_path / "log") == len(kills)
    assert crawl_run.content(work) == undisturbed
    assert not list((tmp_path / "work" / "shards" / storage.SCRATCH).glob("*"))


@pytest.mark.slow
def test_a_crawl_on_ray_whose_driver_and_workers_are_killed_ends_as_if_undisturbed(
    undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    work = str(tmp_path / "work")
    crawl_run.prepare(work, PATHS)
    kills = [("driver", "worker")[number % 2] for number in range(max(2, KILLS // 4))]
    assert kill_again_and_again(work, port, "ray", kills, tmp_path / "log") == len(kills)
    assert crawl_run.content(work) == undisturbed


@pytest.mark.slow
def test_a_crawl_into_an_object_store_that_falters_killed_and_resumed_gives_the_bytes_of_a_local_one(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, few = s3_server.running(), PATHS[:60]
    crawl_run.prepare(str(tmp_path / "local"), few)
    crawl_run.crawl(str(tmp_path / "local"), port, ExecutorConfig(workers=2))
    with flaky_proxy.before(server.endpoint) as proxy:
        server.use(monkeypatch, proxy.endpoint)
        work = f"{server.new_bucket()}/runs/one"
        crawl_run.prepare(work, few)
        kills = ["worker", "driver"] * max(1, KILLS // 20)
        assert kill_again_and_again(work, port, "local", kills, tmp_path / "log") == len(kills)
        assert sum(number for kind, number in proxy.refused.items() if kind.startswith("PUT")) > 2
        assert crawl_run.content(work) == crawl_run.content(str(tmp_path / "local"))
    said = (tmp_path / "log").read_text()
    assert s3_server.SECRET not in said
