from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.config import CrawlConfig
from datagen.crawl.politeness.limiter import Ask, Client, Done, Grant, HostLimiter, ShardProgress, serving
from helpers.patience import patience
from openwit.errors import WorkError
from openwit.log.events import InFlight


class Book:
    """A limiter on a clock of its own, with workers that keep what they were granted."""

    def __init__(self, **fields: object) -> None:
        settings = {"host_requests_per_s": 10.0, "host_connections": 2, "host_failures": 3, **fields}
        self.time = 0.0
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.count = itertools.count()
        self.limiter = HostLimiter(CrawlConfig(**settings), self._later)  # type: ignore[arg-type]
        self.limiter.now = lambda: self.time
        self.granted: list[tuple[float, Grant]] = []

    def _later(self, delay_s: float, function: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (self.time + delay_s, next(self.count), function))

    def client(self) -> Client:
        return Client(lambda grant: self.granted.append((self.time, grant)))

    def run_until(self, time: float) -> None:
        while self.timers and self.timers[0][0] <= time:
            self.time, _, function = heapq.heappop(self.timers)
            function()
        self.time = time

    def times(self) -> list[float]:
        return [round(time, 6) for time, _ in self.granted]


def ask_many(book: Book, client: Client, number: int, host: str = "a", interval_s: float = 0.0) -> None:
    for _ in range(number):
        book.limiter.ask(client, Ask(next(book.count), host, 80, interval_s))


def test_turns_on_a_host_are_spaced_by_its_rate_over_all_workers() -> None:
    book = Book(host_connections=100)
    for client in (book.client(), book.client()):
        ask_many(book, client, 2)
    ask_many(book, book.client(), 1, host="b")
    book.run_until(10)
    assert book.times() == [0.0, 0.0, 0.1, 0.2, 0.3]


def test_what_robots_txt_wants_between_two_requests_is_kept() -> None:
    book = Book(host_connections=100)
    ask_many(book, book.client(), 3, interval_s=2.0)
    book.run_until(10)
    assert book.times() == [0.0, 2.0, 4.0]


def test_no_more_than_the_limit_run_at_once_and_an_end_lets_the_next_in() -> None:
    book = Book(host_connections=2, host_requests_per_s=1e6)
    client = book.client()
    ask_many(book, client, 4)
    book.run_until(1)
    assert len(book.granted) == 2
    book.limiter.done(client, Done(book.granted[0][1].id))
    book.run_until(2)
    assert len(book.granted) == 3


def test_a_dead_workers_turns_end_and_its_questions_are_forgotten() -> None:
    book = Book(host_connections=1, host_requests_per_s=1e6)
    dead, alive = book.client(), book.client()
    ask_many(book, dead, 3)
    ask_many(book, alive, 1)
    book.run_until(1)
    assert len(book.granted) == 1
    book.limiter.drop(dead)
    book.run_until(2)
    assert len(book.granted) == 2
    assert list(alive.slots) == [book.granted[1][1].id]


def test_a_turn_that_lasts_longer_than_any_request_may_is_ended() -> None:
    book = Book(host_connections=1, deadline_s=5.0)
    lost, alive = book.client(), book.client()
    ask_many(book, lost, 1)
    ask_many(book, alive, 1)
    book.run_until(60)
    book.limiter.sweep(lost)
    assert len(book.granted) == 1
    book.run_until(66)
    book.limiter.sweep(lost)
    assert len(book.granted) == 2
    book.limiter.done(lost, Done(book.granted[0][1].id))  # too late: no slot of anybody's ends
    assert book.limiter.hosts["a"].running == 1


def test_a_host_that_asks_for_rest_has_it() -> None:
    book = Book()
    client = book.client()
    ask_many(book, client, 2)
    book.limiter.done(client, Done(book.granted[0][1].id, "http_503: busy", rest_s=7.0))
    book.run_until(20)
    assert book.times() == [0.0, 7.0]


def test_a_host_that_fails_in_a_row_is_given_up_on_that_port_and_each_later_row_says_so() -> None:
    book = Book(host_requests_per_s=1e6, host_connections=1)
    client = book.client()
    ask_many(book, client, 5)
    for number in range(3):
        book.run_until(number + 1.0)
        book.limiter.done(client, Done(book.granted[number][1].id, "dns: no such name"))
    book.run_until(10)
    why = "host_down: a:80 is given up after 3 failures in a row (dns: no such name)"
    assert [grant.refusal for _, grant in book.granted] == ["", "", "", why, why]
    assert book.limiter.given_up == {"a:80": "dns: no such name"}
    book.limiter.ask(client, Ask(1000, "a", 443, 0.0))
    book.run_until(11)
    assert book.granted[-1][1] == Grant(1000)


def test_a_success_between_failures_keeps_a_host() -> None:
    book = Book(host_requests_per_s=1e6)
    client = book.client()
    for number in range(12):
        ask_many(book, client, 1)
        book.run_until(number + 1.0)
        book.limiter.done(client, Done(book.granted[-1][1].id, "" if number % 3 == 2 else "timeout: x"))
    assert not any(grant.refusal for _, grant in book.granted)


def test_a_port_that_is_shut_for_a_time_is_refused_for_that_time() -> None:
    book = Book()
    client = book.client()
    ask_many(book, client, 1)
    book.limiter.done(client, Done(book.granted[0][1].id, "http_429: Too Many", shut_s=100.0))
    book.run_until(50)
    ask_many(book, client, 1)
    book.run_until(101)
    ask_many(book, client, 1)
    assert [grant.refusal for _, grant in book.granted] == ["", "http_429: Too Many", ""]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(0, 3)), max_size=40), st.integers(1, 3))
def test_whatever_happens_limits_hold_everyone_is_served_and_nothing_is_remembered_of_idle_hosts(
    events: list[tuple[str, int, float]], connections: int
) -> None:
    book = Book(host_connections=connections)
    clients = [book.client() for _ in range(3)]
    for number, (host, worker, duration) in enumerate(events):
        book.limiter.ask(clients[worker], Ask(number, host, 80, 0.0))
        client = clients[worker]
        book._later(duration, lambda client=client, number=number: book.limiter.done(client, Done(number)))  # type: ignore[misc]
        assert all(entry.running <= connections for entry in book.limiter.hosts.values())
        book.run_until(book.time + 0.01)
    for client in clients:
        for slot in list(client.slots):
            book.limiter.done(client, Done(slot))
    while len(book.granted) < len(events):
        book.run_until(book.time + 1)
        for client in clients:
            for slot in list(client.slots):
                book.limiter.done(client, Done(slot))
    book.run_until(book.time + 10)
    for client in clients:
        for slot in list(client.slots):
            book.limiter.done(client, Done(slot))
    book.run_until(book.time + 10)
    assert sorted(grant.id for _, grant in book.granted) == list(range(len(events)))
    assert book.limiter.hosts == {}
    for host in "abc":
        ids = {number for number, (name, _, _) in enumerate(events) if name == host}
        times = [time for time, grant in book.granted if grant.id in ids]
        assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in itertools.pairwise(times))


def test_an_address_that_is_not_ours_is_refused_with_its_field() -> None:
    with (
        pytest.raises(WorkError, match=r"crawl.limiter_address=203.0.113.1: cannot be listened on"),
        serving(CrawlConfig(limiter_address="203.0.113.1")),
    ):
        pass


def test_given_up_means_for_the_run() -> None:
    book = Book(host_failures=1)
    client = book.client()
    ask_many(book, client, 1)
    book.limiter.done(client, Done(book.granted[0][1].id, "dns: x"))
    until, why = book.limiter.hosts["a"].shut[80]
    assert until == math.inf
    assert why.startswith("host_down: a:80 is given up after 1 failures in a row")


def test_what_workers_told_last_is_under_way_until_they_are_gone() -> None:
    book = Book()
    one, other = book.client(), book.client()
    book.limiter.report(one, ShardProgress(3, 0.25, {"in": 5, "kept": 5}))
    book.limiter.report(other, ShardProgress(4, 0.5, {"in": 10, "kept": 9, "dropped.dns": 1}))
    book.limiter.report(one, ShardProgress(3, 0.75, {"in": 15, "kept": 15}))
    assert book.limiter.in_flight() == {
        3: InFlight(0.75, {"in": 15, "kept": 15}), 4: InFlight(0.5, {"in": 10, "kept": 9, "dropped.dns": 1}),
    }  # fmt: skip
    book.limiter.drop(one)
    book.limiter.report(other, ShardProgress(7, 0.1, {"in": 1}))
    assert book.limiter.in_flight() == {7: InFlight(0.1, {"in": 1})}


def unauthenticated(address: str, *lines: bytes) -> bytes:
    """What the limiter answers to someone who sends these lines, until it hangs up."""
    host, _, port = address.rpartition(":")
    said = b""
    with socket.create_connection((host, int(port)), timeout=patience(10)) as connection:
        connection.sendall(b"".join(lines))
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1000):
                said += data
    return said


def test_whoever_does_not_hold_the_runs_token_gets_no_turn_and_is_hung_up_on() -> None:
    ask = b'["ask",1,"a.test",80,0.0]\n'
    with serving(CrawlConfig()) as served:
        for lines in ([b"hello\n", b"0" * 64 + b"\n", ask], [ask, ask, ask], [b"x" * 1000]):
            assert b"[1," not in unauthenticated(served.address, *lines)
        assert served.limiter.hosts == {}
        assert served.token in served.url
        assert served.token not in repr(served)
