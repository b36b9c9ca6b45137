from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datagen.config import CrawlConfig
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.politeness.client import LimiterClient, LimiterGone
from datagen.crawl.politeness.limiter import serving
from helpers.patience import patience
from helpers.places import ROOT
from helpers.processes import wait_until
from openwit.log.events import InFlight

HOLD = """
import sys
from datagen.crawl.politeness.client import LimiterClient
with LimiterClient(sys.argv[1]).slot("a.test", 80, 0.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def config(**fields: object) -> CrawlConfig:
    return CrawlConfig(**{"host_requests_per_s": 1e4, "host_connections": 3, **fields})  # type: ignore[arg-type]


def test_limits_hold_over_the_threads_of_several_workers() -> None:
    lock, running, most, starts = threading.Lock(), [0], [0], list[float]()
    with serving(config(host_requests_per_s=50.0)) as served:
        clients = [LimiterClient(served.url) for _ in range(2)]

        def work(number: int) -> None:
            with clients[number % 2].slot("a.test", 80, 0.0):
                with lock:
                    starts.append(time.monotonic())
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                time.sleep(0.1)
                with lock:
                    running[0] -= 1

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(work, range(24)))
        for client in clients:
            client.close()
    assert most[0] == 3
    assert len(starts) == 24
    assert max(starts) - min(starts) >= 23 / 50 - 0.05


def test_a_killed_workers_turn_is_free_again() -> None:
    with serving(config(host_connections=1)) as served:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        worker = subprocess.Popen(
            [sys.executable, "-c", HOLD, served.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"held\n"
        client, granted = LimiterClient(served.url), threading.Event()

        def work() -> None:
            with client.slot("a.test", 80, 0.0):
                granted.set()

        waiting = threading.Thread(target=work)
        waiting.start()
        assert not granted.wait(0.2)
        worker.send_signal(signal.SIGKILL)
        assert granted.wait(patience(10))
        waiting.join()
        worker.communicate()
        client.close()


def test_a_host_that_one_worker_found_down_is_refused_to_the_others() -> None:
    with serving(config(host_failures=2)) as served:
        one, other = LimiterClient(served.url), LimiterClient(served.url)
        for _ in range(2):
            with one.slot("a.test", 80, 0.0) as slot:
                slot.failure = "dns: no such: name"
        wait_until(lambda: served.limiter.given_up, 10)
        why = r"^host_down: a.test:80 .*\(dns: no such: name\)$"
        with pytest.raises(FetchFailed, match=why) as caught, other.slot("a.test", 80, 0.0):
            pass
        assert caught.value.reason == "host_down"
        assert not caught.value.again
        one.close()
        other.close()


def test_whoever_waits_when_the_limiter_ends_is_told_so_at_once_and_so_is_whoever_asks_later() -> None:
    with ThreadPoolExecutor(4) as threads:
        with serving(config(host_connections=1)) as served:
            client, held, gone = LimiterClient(served.url), threading.Event(), threading.Event()

            def work(_: int) -> None:
                with client.slot("a.test", 80, 0.0):
                    held.set()
                    gone.wait(patience(60))

            waiting = [threads.submit(work, number) for number in range(4)]
            assert held.wait(patience(10))
        gone.set()
        problems = [future.exception(patience(10)) for future in waiting]
    assert sum(isinstance(problem, LimiterGone) for problem in problems) == 3
    with pytest.raises(LimiterGone, match=rf"the crawl's rate limiter at {served.address} does not answer"):
        work(0)
    assert client.problem
    client.close()


def test_a_limiter_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LimiterGone, match=rf"limiter at 127.0.0.1:{port} does not answer"):
        LimiterClient(f"tcp://token@127.0.0.1:{port}")


def test_a_worker_takes_no_slots_from_the_limiter_of_another_run() -> None:
    with serving(config()) as ours, serving(config()) as theirs:
        moved = f"tcp://{ours.token}@{theirs.address}"  # as if the next run's rate limiter listened at the port of ours
        with pytest.raises(LimiterGone, match="it is not this run's rate limiter that listens there") as caught:
            LimiterClient(moved)
        assert ours.token not in str(caught.value)
        client = LimiterClient(ours.url)
        with client.slot("a.test", 80, 0.0):
            pass
        client.close()


def test_what_a_worker_reports_is_under_way_at_the_limiter_until_it_hangs_up() -> None:
    with serving(config()) as served:
        client = LimiterClient(served.url)
        client.report(7, 0.25, {"in": 10, "kept": 9, "dropped.dns": 1})
        wait_until(lambda: served.limiter.in_flight(), 10)
        assert served.limiter.in_flight() == {7: InFlight(0.25, {"in": 10, "kept": 9, "dropped.dns": 1})}
        client.close()
        wait_until(lambda: not served.limiter.in_flight(), 10)


def test_turns_of_many_hosts_do_not_wait_for_each_other() -> None:
    with serving(config(host_connections=1)) as served:
        client = LimiterClient(served.url)
        hosts = [f"{letter}{number}.test" for letter, number in itertools.product("ab", range(10))]
        gate = threading.Barrier(len(hosts), timeout=patience(10))

        def work(host: str) -> None:
            with client.slot(host, 80, 0.0):
                gate.wait()

        with ThreadPoolExecutor(len(hosts)) as threads:
            assert len(list(threads.map(work, hosts))) == len(hosts)  # all stood at the gate at once
        client.close()
