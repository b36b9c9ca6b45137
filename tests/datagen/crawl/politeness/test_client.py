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
from datagen.crawl.politeness.client import LedgerClient, LedgerGone
from datagen.crawl.politeness.scheduler import serving
from helpers.patience import patience
from helpers.places import ROOT
from helpers.processes import wait_until
from openwit.log.events import Underway

HOLD = """
import sys
from datagen.crawl.politeness.client import LedgerClient
with LedgerClient(sys.argv[1]).turn("a.test", 80, 0.0):
    print("held", flush=True)
    sys.stdin.read()
"""


def config(**fields: object) -> CrawlConfig:
    return CrawlConfig(**{"host_requests_per_s": 1e4, "host_connections": 3, **fields})  # type: ignore[arg-type]


def test_limits_hold_over_the_threads_of_several_workers() -> None:
    lock, running, most, starts = threading.Lock(), [0], [0], list[float]()
    with serving(config(host_requests_per_s=50.0)) as served:
        clients = [LedgerClient(served.url) for _ in range(2)]

        def work(number: int) -> None:
            with clients[number % 2].turn("a.test", 80, 0.0):
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
        client, granted = LedgerClient(served.url), threading.Event()

        def work() -> None:
            with client.turn("a.test", 80, 0.0):
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
        one, other = LedgerClient(served.url), LedgerClient(served.url)
        for _ in range(2):
            with one.turn("a.test", 80, 0.0) as turn:
                turn.failure = "dns: no such: name"
        wait_until(lambda: served.ledger.given_up, 10)
        why = r"^host_down: a.test:80 .*\(dns: no such: name\)$"
        with pytest.raises(FetchFailed, match=why) as caught, other.turn("a.test", 80, 0.0):
            pass
        assert caught.value.reason == "host_down"
        assert not caught.value.again
        one.close()
        other.close()


def test_whoever_waits_when_the_ledger_ends_is_told_so_at_once_and_so_is_whoever_asks_later() -> None:
    with ThreadPoolExecutor(4) as threads:
        with serving(config(host_connections=1)) as served:
            client, held, gone = LedgerClient(served.url), threading.Event(), threading.Event()

            def work(_: int) -> None:
                with client.turn("a.test", 80, 0.0):
                    held.set()
                    gone.wait(patience(60))

            waiting = [threads.submit(work, number) for number in range(4)]
            assert held.wait(patience(10))
        gone.set()
        problems = [future.exception(patience(10)) for future in waiting]
    assert sum(isinstance(problem, LedgerGone) for problem in problems) == 3
    with pytest.raises(LedgerGone, match=rf"the crawl's ledger at {served.address} does not answer"):
        work(0)
    assert client.problem
    client.close()


def test_a_ledger_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LedgerGone, match=rf"ledger at 127.0.0.1:{port} does not answer"):
        LedgerClient(f"tcp://token@127.0.0.1:{port}")


def test_a_worker_takes_no_turns_from_the_ledger_of_another_run() -> None:
    with serving(config()) as ours, serving(config()) as theirs:
        moved = f"tcp://{ours.token}@{theirs.address}"  # as if the next run's ledger listened at the port of ours
        with pytest.raises(LedgerGone, match="it is not this run's ledger that listens there") as caught:
            LedgerClient(moved)
        assert ours.token not in str(caught.value)
        client = LedgerClient(ours.url)
        with client.turn("a.test", 80, 0.0):
            pass
        client.close()


def test_what_a_worker_tells_is_under_way_at_the_ledger_until_it_hangs_up() -> None:
    with serving(config()) as served:
        client = LedgerClient(served.url)
        client.tell(7, 0.25, {"in": 10, "kept": 9, "dropped.dns": 1})
        wait_until(lambda: served.ledger.underway(), 10)
        assert served.ledger.underway() == {7: Underway(0.25, {"in": 10, "kept": 9, "dropped.dns": 1})}
        client.close()
        wait_until(lambda: not served.ledger.underway(), 10)


def test_turns_of_many_hosts_do_not_wait_for_each_other() -> None:
    with serving(config(host_connections=1)) as served:
        client = LedgerClient(served.url)
        hosts = [f"{letter}{number}.test" for letter, number in itertools.product("ab", range(10))]
        gate = threading.Barrier(len(hosts), timeout=patience(10))

        def work(host: str) -> None:
            with client.turn(host, 80, 0.0):
                gate.wait()

        with ThreadPoolExecutor(len(hosts)) as threads:
            assert len(list(threads.map(work, hosts))) == len(hosts)  # all stood at the gate at once
        client.close()
