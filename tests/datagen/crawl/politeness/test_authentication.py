from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from datagen.crawl.politeness.authentication import MAX_BYTES, Authenticator, authenticate, new_token


def meet(answer: Callable[[bytes], bytes], token: str) -> None:
    """A worker with the token introduces itself to someone who answers each line so, and hangs up at b""."""
    ours, theirs = socket.socketpair()

    def listen() -> None:
        with theirs, theirs.makefile("rb") as lines:
            for line in lines:
                if not (said := answer(line.rstrip(b"\n"))):
                    return
                theirs.sendall(said)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with ours:
            authenticate(ours, token)
    finally:
        thread.join()


def test_who_holds_the_same_token_is_let_in() -> None:
    token = new_token()
    authenticator = Authenticator(token)
    meet(authenticator.hear, token)
    assert authenticator.is_authenticated


def test_a_token_is_of_one_run_only() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_a_worker_with_another_token_does_not_trust_the_limiter_and_stays_outside() -> None:
    authenticator = Authenticator("one")
    with pytest.raises(ConnectionError, match="it is not this run's rate limiter"):
        meet(authenticator.hear, "two")
    assert not authenticator.is_authenticated


@pytest.mark.parametrize(
    "answer",
    [lambda line: line + b" " + line + b"\n", lambda _: b"", lambda _: b"x" * (MAX_BYTES + 1), lambda _: b"\n"],
)
def test_a_worker_trusts_nobody_who_cannot_prove_to_be_the_limiter(answer: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ConnectionError, match="it is not this run's rate limiter"):
        meet(answer, "token")


def test_what_the_limiter_said_authenticates_nobody() -> None:
    """Somebody has the limiter prove itself to it, and hands the proof back as its own."""
    authenticator, other = Authenticator("token"), Authenticator("token")
    number, _ = authenticator.hear(b"anything").strip().split(b" ")
    proof = other.hear(number).strip().split(b" ")[1]
    with pytest.raises(PermissionError):
        authenticator.hear(proof)
    assert not authenticator.is_authenticated
