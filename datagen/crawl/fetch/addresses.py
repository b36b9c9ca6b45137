"""Which addresses may be connected to, and the look-up of names that lets no other through.

A cache with a size and a time limit that computes each value once, however many threads ask.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetKnown
from typing import Generic, TypeVar, cast

from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.limits import Deadline

K = TypeVar("K")
V = TypeVar("V")


class SingleFlightCache(Generic[K, V]):
    """Futures by key. At most `size` are kept, least recently asked first to go; a value is good for `keep_s`
    seconds, an exception for `keep_error_s`."""

    def __init__(self, size: int, keep_s: float, keep_error_s: float) -> None:
        self.size, self.keep_s, self.keep_error_s = size, keep_s, keep_error_s
        self._entries: OrderedDict[K, tuple[float, Future[V]]] = OrderedDict()
        self._lock = threading.Lock()

    def future(self, key: K, start: Callable[[Future[V]], object]) -> Future[V]:
        """The key's future; where there is none, `start` is called to see to it that a new one is settled."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and not self._is_stale(*entry):
                self._entries.move_to_end(key)
                return entry[1]
            future: Future[V] = Future()
            self._entries[key] = time.monotonic(), future
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        start(future)
        return future

    def _is_stale(self, made: float, future: Future[V]) -> bool:
        if not future.done():
            return False
        return time.monotonic() - made > (self.keep_error_s if future.exception() else self.keep_s)


def settle(future: Future[V], make: Callable[[], V]) -> None:
    """Gives the future what `make` returns or raises."""
    try:
        future.set_result(make())
    except BaseException as error:  # handed to whoever waits
        future.set_exception(error)


LookUp = Callable[[str], Sequence[str]]

_MAX_NAMES = 50_000  # kept looked up
_KEEP_S = 300.0  # an address is good for so long
_KEEP_ERROR_S = 30.0
_MAX_LOOK_UPS = 512  # names looked up at once in a worker; one that hangs outlasts the fetches that asked for it
_POLL_S = 0.01
_MAX_ADDRESSES = 4  # of a name that are tried

_UNICAST6 = ipaddress.IPv6Network("2000::/3")  # all that is allocated for the public internet
_SPECIAL6 = [ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "3fff::/20")]
_NAT64, _SIX_TO_FOUR = ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("2002::/16")
_SPECIAL4 = [  # public by their number, served by the network or the cloud that one sits in
    ipaddress.IPv4Network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "240.0.0.0/4")
]


def is_public(address: str) -> bool:
    """Whether an address lies on the public internet; IPv4 inside IPv6 (mapped, 6to4, NAT64) is judged as IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public4(parsed)
    if parsed.ipv4_mapped:
        return _is_public4(parsed.ipv4_mapped)
    if parsed in _NAT64:
        return _is_public4(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    if parsed in _SIX_TO_FOUR:
        return _is_public4(ipaddress.IPv4Address(int(parsed) >> 80 & 0xFFFFFFFF))
    return parsed in _UNICAST6 and parsed.is_global and not any(parsed in net for net in _SPECIAL6)


def _is_public4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in net for net in _SPECIAL4)


def system_look_up(host: str) -> list[str]:
    """The addresses of a name by the system's resolver. Raises socket.gaierror."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no name that can be looked up") from None
    return list(dict.fromkeys(cast(str, entry[4][0]) for entry in found))


class Resolver:
    """Names to checked addresses, cached for some minutes. `connect_to` names the only exceptions."""

    def __init__(self, connect_to: Sequence[str], look_up: LookUp = system_look_up) -> None:
        self._look_up = look_up
        self._exceptions = [entry.lower().split("=", 1) for entry in connect_to]
        self._known: SingleFlightCache[str, Sequence[str]] = SingleFlightCache(_MAX_NAMES, _KEEP_S, _KEEP_ERROR_S)
        self._places = threading.BoundedSemaphore(_MAX_LOOK_UPS)

    def exception(self, host: str) -> tuple[str, int] | None:
        """The address and port that `connect_to` gives for the host."""
        for pattern, address in self._exceptions:
            if fnmatch.fnmatchcase(host, pattern):
                name, _, port = address.rpartition(":")
                return name.strip("[]"), int(port)
        return None

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[tuple[str, int]]:
        """The checked (address, port) pairs to connect to, in the order to try.

        Raises FetchFailed (address_private) where any address of the host is not on the public internet,
        socket.gaierror, TimeoutError.
        """
        if exception := self.exception(host):
            return [exception]
        with deadline.paused():  # to wait for a place among our own look-ups is not the host's fault
            future = self._known.future(host, lambda made: self._start(host, made))
            while not (future.running() or future.done()):
                time.sleep(_POLL_S)
        try:
            found = future.result(deadline.left())
        except NotYetKnown:
            raise TimeoutError("timed out") from None
        for address in found:
            if not is_public(address):
                raise FetchFailed("address_private", f"{host} is {address}, which is not on the public internet")
        return [(address, port) for address in found[:_MAX_ADDRESSES]]

    def _start(self, host: str, future: Future[Sequence[str]]) -> None:
        """Looks the name up in a thread of its own, so that a slow look-up ends at the deadline, holds no other up and
        does not keep the process from ending."""

        def look_up() -> None:
            with self._places:
                future.set_running_or_notify_cancel()
                settle(future, lambda: self._look_up(host))

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
