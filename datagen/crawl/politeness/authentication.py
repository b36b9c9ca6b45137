"""How the run's ledger and a worker know each other: both show that they hold the run's token, and neither sends it.

So no other process on the network takes turns away or hands them out, and a worker that outlived its run gets nothing
from the next one that listens at its port. Each answers a number of the other's with its HMAC under the token:

    worker → NUMBER          ledger → NUMBER HMAC          worker → HMAC

What follows is neither signed nor secret: whoever can read and change the traffic between the machines still can.
"""

from __future__ import annotations

import hmac
import secrets
import socket

MAX_BYTES = 256  # of what either says before the other is known


def new_token() -> str:
    """The secret of one run."""
    return secrets.token_hex(16)


class Doorkeeper:
    """The ledger's side of one connection."""

    def __init__(self, token: str) -> None:
        self.is_open = False  # whether the worker is known
        self._token, self._number, self._was_greeted = token, secrets.token_hex(16), False

    def hear(self, line: bytes) -> bytes:
        """What to answer to the worker's line; PermissionError where it does not hold the token."""
        if not self._was_greeted:
            self._was_greeted = True
            return f"{self._number} {_proof(self._token, 'ledger', line)}\n".encode()
        if not hmac.compare_digest(line, _proof(self._token, "worker", self._number.encode()).encode()):
            raise PermissionError("it does not know the run's token")
        self.is_open = True
        return b""


def introduce(connection: socket.socket, token: str) -> None:
    """The worker's side. Raises ConnectionError where whoever listens does not hold the token."""
    number = secrets.token_hex(16)
    connection.sendall(f"{number}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        more = connection.recv(MAX_BYTES)
        answer += more
        if not more or len(answer) > MAX_BYTES:
            raise ConnectionError("it is not this run's ledger that listens there")
    theirs, _, proof = answer.strip().partition(b" ")
    if not hmac.compare_digest(proof, _proof(token, "ledger", number.encode()).encode()):
        raise ConnectionError("it is not this run's ledger that listens there")
    connection.sendall(f"{_proof(token, 'worker', theirs)}\n".encode())


def _proof(token: str, who: str, number: bytes) -> str:
    return hmac.new(token.encode(), who.encode() + b" " + number, "sha256").hexdigest()
