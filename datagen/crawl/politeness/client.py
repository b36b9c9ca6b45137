"""A worker's side of the host rate limiter: one connection for all of its threads."""

from __future__ import annotations

import contextlib
import itertools
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.politeness.authentication import authenticate
from datagen.crawl.politeness.limiter import Ask, Done, Grant, ShardProgress

_CONNECT_S = 10.0
_SILENCE_S = 60  # after which a silent connection is probed by the kernel


class LimiterGone(ConnectionError):
    """The run's rate limiter does not answer any more; what is not fetched yet cannot be fetched."""


@dataclass
class Slot:
    """Leave to send one request, and how it went (see limiter.Done)."""

    failure: str = ""
    rest_s: float = 0.0
    shut_s: float = 0.0


class LimiterClient:
    """Asks the limiter at `url` (tcp://TOKEN@ADDRESS:PORT) for slots. Raises LimiterGone where nobody answers there, or
    whoever does is not this run's rate limiter."""

    def __init__(self, url: str) -> None:
        token, _, self.address = url.removeprefix("tcp://").rpartition("@")
        self.problem = ""  # why the limiter is gone
        self._ids = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Grant | None]] = {}
        self._lock = threading.Lock()
        host, _, port = self.address.rpartition(":")
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S)
            authenticate(self._socket, token)
        except OSError as error:
            self.problem = str(error)
            raise self._gone() from None
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE_S)
        threading.Thread(target=self._listen, name="limiter", daemon=True).start()

    @contextlib.contextmanager
    def slot(self, host: str, port: int, interval_s: float) -> Iterator[Slot]:
        """Waits until the host may be asked; the body sends one request and notes in the Slot how it went.

        Raises FetchFailed where nothing may be asked there: host_down, or the answer that asked for a pause; and
        LimiterGone.
        """
        slot_id, answer = next(self._ids), queue.SimpleQueue[Grant | None]()
        self._waiting[slot_id] = answer
        self._send(Ask(slot_id, host, port, interval_s))
        grant = answer.get()
        if grant is None:
            raise self._gone()
        if grant.refusal:
            reason, _, text = grant.refusal.partition(": ")
            raise FetchFailed(reason, text)
        slot = Slot()
        try:
            yield slot
        finally:
            self._send(Done(slot_id, slot.failure, slot.rest_s, slot.shut_s))

    def report(self, partition: int, share: float, counts: Mapping[str, int]) -> None:
        """Reports what the partition has come to (see limiter.ShardProgress)."""
        self._send(ShardProgress(partition, share, dict(counts)))

    def close(self) -> None:
        """Ends the connection; the limiter ends the slots that are left."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _send(self, message: Ask | Done | ShardProgress) -> None:
        line = msgspec.json.encode(message) + b"\n"
        try:
            with self._lock:
                if self.problem:
                    raise OSError(self.problem)
                self._socket.sendall(line)
        except OSError as error:
            self._lost(str(error))
            if isinstance(message, Ask):
                raise self._gone() from None

    def _listen(self) -> None:
        decoder, rest, problem = msgspec.json.Decoder(Grant), b"", "it hung up"
        try:
            while data := self._socket.recv(65_536):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    grant = decoder.decode(line)
                    self._waiting.pop(grant.id).put(grant)
        except OSError as error:
            problem = str(error)
        self._lost(problem)

    def _lost(self, problem: str) -> None:
        """Wakes every thread that waits, and whoever asks from now on."""
        self.problem = self.problem or problem
        while self._waiting:
            with contextlib.suppress(KeyError):
                self._waiting.popitem()[1].put(None)

    def _gone(self) -> LimiterGone:
        return LimiterGone(f"the crawl's rate limiter at {self.address} does not answer ({self.problem})")
