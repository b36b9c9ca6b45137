"""Mutual authentication of the run's rate limiter and a worker: both prove that they hold the token, neither sends it.

So no other process on the network takes slots away or hands them out, and a worker that outlived its run gets nothing
from the next one that listens at its port. Each answers a number of the other's with its HMAC under the token:

    worker → NUMBER          limiter → NUMBER HMAC          worker → HMAC

What follows is neither signed nor secret: whoever can read and change the traffic between the machines still can.
"""

from __future__ import annotations

import hmac
import secrets
import socket

MAX_BYTES = 256  # of what either says before the other is authenticated


def new_token() -> str:
    """The secret of one run."""
    return secrets.token_hex(16)


class Authenticator:
    """The limiter's side of one connection."""

    def __init__(self, token: str) -> None:
        self.is_authenticated = False  # whether the worker has proved that it holds the token
        self._token, self._number, self._was_greeted = token, secrets.token_hex(16), False

    def hear(self, line: bytes) -> bytes:
        """What to answer to the worker's line; PermissionError where it does not hold the token."""
        if not self._was_greeted:
            self._was_greeted = True
            return f"{self._number} {_proof(self._token, 'limiter', line)}\n".encode()
        if not hmac.compare_digest(line, _proof(self._token, "worker", self._number.encode()).encode()):
            raise PermissionError("it does not know the run's token")
        self.is_authenticated = True
        return b""


def authenticate(connection: socket.socket, token: str) -> None:
    """The worker's side. Raises ConnectionError where whoever listens does not hold the token."""
    number = secrets.token_hex(16)
    connection.sendall(f"{number}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        more = connection.recv(MAX_BYTES)
        answer += more
        if not more or len(answer) > MAX_BYTES:
            raise ConnectionError("it is not this run's rate limiter that listens there")
    theirs, _, proof = answer.strip().partition(b" ")
    if not hmac.compare_digest(proof, _proof(token, "limiter", number.encode()).encode()):
        raise ConnectionError("it is not this run's rate limiter that listens there")
    connection.sendall(f"{_proof(token, 'worker', theirs)}\n".encode())


def _proof(token: str, who: str, number: bytes) -> str:
    return hmac.new(token.encode(), who.encode() + b" " + number, "sha256").hexdigest()
