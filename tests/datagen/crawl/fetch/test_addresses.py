# mypy: disable-error-code="arg-type, func-returns-value, return-value"
from __future__ import annotations

import ipaddress
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch import addresses
from datagen.crawl.fetch.addresses import Resolver, SingleFlightCache, is_public, settle, system_look_up
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.limits import Deadline
from helpers.patience import patience

PRIVATE = """
10.0.0.1 192.168.1.1 172.16.0.1 172.31.255.255 127.0.0.1 127.8.8.8 169.254.169.254 100.64.0.1 100.100.100.200
192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
0.0.0.0 0.1.2.3 168.63.129.16 ::1 :: fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1 3fff::1
::ffff:10.0.0.1 ::ffff:127.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1::1
2002:a9fe:a9fe::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 100::1 5f00::1
""".split()
PUBLIC = "93.184.216.34 1.1.1.1 2606:4700::1111 ::ffff:93.184.216.34 64:ff9b::5db8:d822 2002:5db8:d822::1".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_ipv4_is_judged_alike_in_every_dress(address: ipaddress.IPv4Address) -> None:
    dresses = [
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        str(ipaddress.IPv6Address(0x2002 << 112 | int(address) << 80)),
    ]
    assert {is_public(dress) for dress in dresses} == {is_public(str(address))}


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    bad = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    assert not (bad and is_public(str(address))) or getattr(address, "ipv4_mapped", None)


def test_one_bad_address_refuses_the_name() -> None:
    resolver = Resolver((), lambda host: ["1.1.1.1", "::1"])
    with pytest.raises(FetchFailed, match=r"address_private: mixed.test is ::1, which is not on the public internet"):
        resolver.addresses("mixed.test", 80, Deadline(1))


def test_a_name_is_looked_up_once_and_the_checked_addresses_are_the_ones_to_connect_to() -> None:
    answers = iter([["1.1.1.1", "1.0.0.1"], ["127.0.0.1"]])
    resolver = Resolver((), lambda host: next(answers))
    for _ in range(2):
        assert resolver.addresses("rebinding.test", 443, Deadline(1)) == [("1.1.1.1", 443), ("1.0.0.1", 443)]


def test_a_look_up_that_fails_is_remembered_too() -> None:
    asked = []

    def look_up(host: str) -> list[str]:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    resolver = Resolver((), look_up)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            resolver.addresses("none.test", 80, Deadline(1))
    assert asked == ["none.test"]


def test_names_whose_look_up_hangs_hold_no_other_up() -> None:
    hang = threading.Event()
    resolver = Resolver((), lambda host: hang.wait(120) and [] if host.startswith("dead") else ["1.1.1.1"])
    with ThreadPoolExecutor(64) as threads:
        dead = [
            threads.submit(resolver.addresses, f"dead{number}.test", 80, Deadline(0.2 if number % 2 else patience(5)))
            for number in range(64)
        ]
        assert resolver.addresses("living.test", 80, Deadline(patience(2))) == [("1.1.1.1", 80)]
        assert all(isinstance(each.exception(), TimeoutError) for each in dead[1::2])
        assert not any(each.done() for each in dead[::2])
        hang.set()


def test_waiting_for_a_place_among_our_own_look_ups_is_not_the_hosts_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_MAX_LOOK_UPS", 1)
    resolver = Resolver((), lambda host: time.sleep(0.6 if host == "slow.test" else 0.0) or ["1.1.1.1"])
    with ThreadPoolExecutor(5) as threads:
        slow = threads.submit(resolver.addresses, "slow.test", 80, Deadline(patience(5)))
        time.sleep(0.1)
        quick = [threads.submit(resolver.addresses, "quick.test", 80, Deadline(0.2)) for _ in range(4)]
        assert [each.result() for each in (slow, *quick)] == [[("1.1.1.1", 80)]] * 5


def test_only_the_allow_list_leads_elsewhere() -> None:
    resolver = Resolver(("*.Example.test=127.0.0.1:81", "six.test=[::1]:82"), lambda host: ["10.0.0.1"])
    assert resolver.addresses("a.example.test", 443, Deadline(1)) == [("127.0.0.1", 81)]
    assert resolver.addresses("six.test", 443, Deadline(1)) == [("::1", 82)]
    for host in ("example.test", "six.test.org", "a.example.test.org"):
        with pytest.raises(FetchFailed):
            resolver.addresses(host, 443, Deadline(1))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "::1"])
def test_the_systems_look_up_reads_every_spelling_of_an_address(host: str) -> None:
    assert not any(is_public(address) for address in system_look_up(host))


def test_a_name_that_cannot_be_one_is_unknown() -> None:
    with pytest.raises(socket.gaierror):
        system_look_up("a" * 70 + ".test")


def counting(cache: SingleFlightCache[str, int], key: str, made: list[str], value: int = 1) -> Future[int]:
    def start(future: Future[int]) -> None:
        made.append(key)
        settle(future, lambda: 1 // value)

    return cache.future(key, start)


def test_a_value_is_made_once_until_its_time_is_over() -> None:
    keep_s = patience(0.2)
    cache, made = SingleFlightCache[str, int](10, keep_s=keep_s, keep_error_s=0.0), list[str]()
    assert [counting(cache, "a", made).result() for _ in range(3)] == [1, 1, 1]
    assert made == ["a"]
    time.sleep(keep_s + 0.05)
    counting(cache, "a", made)
    assert made == ["a", "a"]


def test_an_error_is_kept_for_a_time_of_its_own() -> None:
    cache, made = SingleFlightCache[str, int](10, keep_s=0.0, keep_error_s=60.0), list[str]()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            counting(cache, "a", made, 0).result()
    assert made == ["a"]


def test_what_was_asked_for_least_recently_goes_first() -> None:
    cache, made = SingleFlightCache[str, int](2, 60.0, 60.0), list[str]()
    for key in "abaca":
        counting(cache, key, made)
    assert made == ["a", "b", "c"]
    counting(cache, "b", made)
    assert made == ["a", "b", "c", "b"]


def test_threads_that_ask_at_once_share_one_making() -> None:
    cache, made, gate = SingleFlightCache[str, int](2, 60.0, 60.0), list[str](), threading.Barrier(8)

    def ask(_: int) -> int:
        gate.wait()
        return counting(cache, "a", made).result()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [1] * 8
    assert made == ["a"]
