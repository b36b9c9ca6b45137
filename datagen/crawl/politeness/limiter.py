"""The host rate limiter of a run: who may ask which host when, over all workers of the run.

The driver serves it while the crawl runs (`serving`). A worker asks before each request and is answered when it has
a slot; it reports when the request is over, and how it went. So the limits hold at any number of workers, a busy
host (429, 503) rests for all of them, and a host that fails again and again is given up for all of them. Once a second
a worker also reports what the shard in its hands has come to, for whoever shows the run's progress.

Two messages go in and one comes out for each request. Measured on one core: 30,000 requests a second where each
message comes alone, 200,000 where they come in heaps (64 at once from each of 4 workers).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from datagen.config import CrawlConfig
from datagen.crawl.politeness.authentication import MAX_BYTES, Authenticator, new_token
from openwit.errors import WorkError
from openwit.log.events import InFlight

_LEASE_MARGIN_S = 60.0  # a slot ends at the latest so long after the deadline of its request
_SWEEP_S = 5.0
_AUTHENTICATION_S = 10.0  # in which who connects must have shown that it holds the token


class Ask(msgspec.Struct, array_like=True, tag="ask"):
    """A worker wants to send a request; `interval_s` is what the host's robots.txt wants between two of them."""

    id: int
    host: str
    port: int
    interval_s: float


class Done(msgspec.Struct, array_like=True, tag="done"):
    """The request is over. `failure` counts against the host's port and is "" where it answered; the host is to
    rest for `rest_s`; the port is not to be asked for `shut_s`."""

    id: int
    failure: str = ""
    rest_s: float = 0.0
    shut_s: float = 0.0


class ShardProgress(msgspec.Struct, array_like=True, tag="progress"):
    """What the partition that a worker is at has come to: the share of it that is done, and its counts so far."""

    partition: int
    share: float
    counts: dict[str, int]


class Grant(msgspec.Struct, array_like=True):
    """The worker has its slot, or gets none: `refusal` says why nothing may be asked there."""

    id: int
    refusal: str = ""


class Client:
    """One worker's connection: where its grants go, and its slots (id → host, port, since when)."""

    def __init__(self, grant: Callable[[Grant], None]) -> None:
        self.grant = grant
        self.slots: dict[int, tuple[str, int, float]] = {}
        self.gone = False


@dataclass(slots=True)
class _Host:
    free_at: float = 0.0  # when the next request may start
    running: int = 0
    waiting: deque[tuple[Client, Ask]] = field(default_factory=deque)
    failures: dict[int, int] = field(default_factory=dict)  # port → failures in a row
    shut: dict[int, tuple[float, str]] = field(default_factory=dict)  # port → until when, and for what failure
    is_timed: bool = False


class HostLimiter:
    """The hosts' slots and pauses; `later(delay_s, function)` has a function called in time. Not thread-safe."""

    def __init__(self, config: CrawlConfig, later: Callable[[float, Callable[[], None]], object]) -> None:
        self.config, self.later = config, later
        self.now: Callable[[], float] = time.monotonic
        self.hosts: dict[str, _Host] = {}
        self.given_up: dict[str, str] = {}  # host:port → the failure
        self._progress: dict[Client, ShardProgress] = {}

    def ask(self, client: Client, ask: Ask) -> None:
        """Grants the slot now or later, or refuses it."""
        host = self.hosts.setdefault(ask.host, _Host())
        host.waiting.append((client, ask))
        self._serve(ask.host, host)

    def done(self, client: Client, done: Done) -> None:
        """Ends a slot, and draws the conclusions for the host."""
        if (slot := client.slots.pop(done.id, None)) is None:
            return  # it had taken so long that the slot had ended
        name, port, _ = slot
        host, now = self.hosts[name], self.now()
        host.running -= 1
        host.free_at = max(host.free_at, now + done.rest_s)
        if not done.failure:
            host.failures.pop(port, None)
        else:
            host.failures[port] = host.failures.get(port, 0) + 1
            if host.failures[port] >= self.config.host_failures:
                why = f"{name}:{port} is given up after {self.config.host_failures} failures in a row ({done.failure})"
                host.shut[port] = math.inf, f"host_down: {why}"
                self.given_up[f"{name}:{port}"] = done.failure
            elif done.shut_s:
                host.shut[port] = now + done.shut_s, done.failure
        self._serve(name, host)

    def report(self, client: Client, progress: ShardProgress) -> None:
        """Takes the place of what the worker reported before."""
        self._progress[client] = progress

    def in_flight(self) -> dict[int, InFlight]:
        """The partitions that workers are or were last at. Any thread may ask."""
        return {
            progress.partition: InFlight(progress.share, progress.counts) for progress in list(self._progress.values())
        }

    def drop(self, client: Client) -> None:
        """Ends all slots of a worker that is gone, and forgets its progress."""
        client.gone = True
        self._progress.pop(client, None)
        for slot in list(client.slots):
            self._end(client, slot)

    def sweep(self, client: Client) -> None:
        """Ends slots that have lasted longer than any request may: their worker is out of reach."""
        limit = self.now() - self.config.deadline_s - _LEASE_MARGIN_S
        for slot, (_, _, since) in list(client.slots.items()):
            if since > limit:
                break  # they are in the order of their start
            self._end(client, slot)

    def _end(self, client: Client, slot: int) -> None:
        name, _, _ = client.slots.pop(slot)
        self.hosts[name].running -= 1
        self._serve(name, self.hosts[name])

    def _serve(self, name: str, host: _Host) -> None:
        now = self.now()
        while host.waiting:
            client, ask = host.waiting[0]
            until, failure = host.shut.get(ask.port, (0.0, ""))
            if client.gone:
                host.waiting.popleft()
            elif until > now:
                host.waiting.popleft()
                client.grant(Grant(ask.id, failure))
            elif host.running >= self.config.host_connections:
                return
            elif host.free_at > now:
                self._serve_later(name, host, host.free_at - now)
                return
            else:
                host.waiting.popleft()
                host.running += 1
                host.free_at = now + max(1 / self.config.host_requests_per_s, ask.interval_s)
                client.slots[ask.id] = name, ask.port, now
                client.grant(Grant(ask.id))
        if host.running or host.failures or host.shut or host.is_timed:
            return
        if host.free_at > now:
            self._serve_later(name, host, host.free_at - now)
        else:
            del self.hosts[name]  # nothing is known of it that a new entry would not say

    def _serve_later(self, name: str, host: _Host, delay_s: float) -> None:
        if host.is_timed:
            return
        host.is_timed = True

        def serve() -> None:
            host.is_timed = False
            self._serve(name, host)

        self.later(delay_s, serve)


class _Connection(asyncio.Protocol):
    """Lines of JSON to and from one worker, once it is authenticated."""

    _decoder = msgspec.json.Decoder(Ask | Done | ShardProgress)
    _encoder = msgspec.json.Encoder()

    def __init__(self, limiter: HostLimiter, token: str) -> None:
        self.limiter, self.authenticator = limiter, Authenticator(token)
        self.client = Client(self._answer)
        self.rest = b""
        self.answers: list[bytes] | None = None  # gathered while a piece of input is worked through

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        asyncio.get_running_loop().call_later(_AUTHENTICATION_S, self._end_unauthenticated)
        self._sweep()

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        try:
            while lines and not self.authenticator.is_authenticated:
                self.transport.write(self.authenticator.hear(lines.pop(0)))
        except PermissionError:
            self.transport.abort()
            return
        if not self.authenticator.is_authenticated:
            if len(self.rest) > MAX_BYTES:
                self.transport.abort()
            return
        self.answers = []
        for line in lines:
            message = self._decoder.decode(line)
            if isinstance(message, Ask):
                self.limiter.ask(self.client, message)
            elif isinstance(message, Done):
                self.limiter.done(self.client, message)
            else:
                self.limiter.report(self.client, message)
        answers, self.answers = self.answers, None
        if answers:
            self.transport.write(b"".join(answers))

    def connection_lost(self, _: Exception | None) -> None:
        self.limiter.drop(self.client)

    def _answer(self, grant: Grant) -> None:
        line = self._encoder.encode(grant) + b"\n"
        if self.answers is None:
            self.transport.write(line)
        else:
            self.answers.append(line)

    def _end_unauthenticated(self) -> None:
        if not self.authenticator.is_authenticated:
            self.transport.abort()

    def _sweep(self) -> None:
        if not self.client.gone:
            self.limiter.sweep(self.client)
            asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)


@dataclass(frozen=True)
class Served:
    """A limiter that is open: its address for the workers, and its hosts."""

    address: str  # ADDRESS:PORT
    token: str = field(repr=False)
    limiter: HostLimiter

    @property
    def url(self) -> str:
        """tcp://TOKEN@ADDRESS:PORT, for workers only: whoever knows it can take slots."""
        return f"tcp://{self.token}@{self.address}"


@contextlib.contextmanager
def serving(config: CrawlConfig) -> Iterator[Served]:
    """The host rate limiter of a run, served by a thread meanwhile. Raises WorkError where limiter_address is not an
    address of this machine."""
    loop = asyncio.new_event_loop()
    limiter, token, connections = HostLimiter(config, loop.call_later), new_token(), set[_Connection]()

    def connection() -> _Connection:
        connections.add(new := _Connection(limiter, token))
        return new

    async def hang_up() -> None:
        server.close()
        for each in connections:
            each.transport.abort()

    try:
        server = loop.run_until_complete(loop.create_server(connection, config.limiter_address, 0))
    except OSError as error:
        loop.close()
        address = config.limiter_address
        raise WorkError(f"crawl.limiter_address={address}: cannot be listened on ({error.strerror or error})") from None
    thread = threading.Thread(target=loop.run_forever, name="limiter", daemon=True)
    thread.start()
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield Served(f"{host}:{port}", token, limiter)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(hang_up())
        loop.close()
