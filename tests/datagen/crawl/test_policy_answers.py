# mypy: disable-error-code="arg-type, dict-item"
"""What servers really send, through the policy: the right image for its URL, or a reason, and at once."""

from __future__ import annotations

import contextlib
import functools
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from datagen.crawl.fetch import addresses
from datagen.crawl.fetch.failures import FetchFailed, reason
from datagen.crawl.policy import FetchPolicy
from helpers import web
from helpers.fetching import failure, fetch, fetching
from helpers.patience import patience
from helpers.places import SHARED
from helpers.raw_web import IMAGE, Piece, answer, chunked, head, ok, raw_serving

SITE = "http://a.example.test"
HINTS = head("Link: </s.css>; rel=preload", status="103 Early Hints")
KEPT: list[socket.socket] = []  # connections that stay open
JPEG = "Content-Type: image/jpeg"


def word_or_body(policy: FetchPolicy, url: str) -> bytes | str:
    """The image, or the word of the reason why there is none."""
    try:
        return fetch(policy, url)
    except Exception as error:
        return reason(str(error))


def fetched(*pieces: Piece, **fields: object) -> bytes | str:
    """The image that a server sends, or the word of the reason why there is none; in time, and the next URL gets its
    own."""
    with raw_serving({"/x": pieces}) as server, fetching(server.port, deadline_s=60.0, **fields) as policy:
        fetch(policy, f"{SITE}/ok/1")
        started = time.monotonic()
        found = word_or_body(policy, f"{SITE}/x")
        assert time.monotonic() - started < patience(2)
        assert [fetch(policy, f"{SITE}/ok/{number}") for number in (2, 3)] == [web.image(2), web.image(3)]
        return found


@pytest.mark.parametrize("pause_s", [0.0, 0.25])
@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_the_image_behind_an_interim_response_is_that_of_its_own_url(status: str, pause_s: float) -> None:
    interim = head("Link: </s.css>; rel=preload", status=status)
    answers = {f"/hint/{number}": [interim, pause_s, interim, ok(number)] for number in range(12)}
    with raw_serving(answers) as server, fetching(server.port) as policy, ThreadPoolExecutor(4) as threads:
        urls = [f"{SITE}/{kind}/{number}" for number in range(12) for kind in ("hint", "ok")]
        bodies = list(threads.map(lambda url: fetch(policy, url), urls))
        assert bodies == [web.image(number) for number in range(12) for _ in range(2)]
        assert server.num_connections <= 8


def test_robots_txt_and_tdmrep_json_behind_an_interim_response_are_obeyed() -> None:
    robots = {"/robots.txt": [HINTS, 0.2, answer(b"User-agent: *\nDisallow: /ok/1\n")]}
    reserved = {"/.well-known/tdmrep.json": [HINTS, answer(b'[{"location": "/ok/2", "tdm-reservation": 1}]')]}
    with raw_serving({**robots, **reserved}) as server, fetching(server.port) as policy:
        assert failure(policy, f"{SITE}/ok/1") == "robots_disallow"
        assert failure(policy, f"{SITE}/ok/2") == "tdm_reservation"
        assert fetch(policy, f"{SITE}/ok/3") == web.image(3)


def test_robots_txt_with_a_malformed_header_line_is_obeyed() -> None:
    text = b"User-agent: *\nDisallow: /\n"
    made = head("<br />", "Content-Type: text/plain", f"Content-Length: {len(text)}") + text
    with raw_serving({"/robots.txt": [made]}) as server, fetching(server.port) as policy:
        assert failure(policy, f"{SITE}/ok/1") == "robots_disallow"


@pytest.mark.parametrize("line", ["HTTP/1.1 200 OK", "<br />", "X Cache: HIT", "Näme: x", "-----", "a\rb", ": x", "no"])
def test_a_reservation_behind_a_malformed_line_is_seen(line: str) -> None:
    assert fetched(answer(IMAGE, JPEG, line, "X-Robots-Tag: noai")) == "noai"
    assert fetched(answer(IMAGE, JPEG, line, "tdm-reservation: 1")) == "tdm_reservation"
    assert fetched(answer(IMAGE, JPEG, line)) == IMAGE


@pytest.mark.parametrize(
    "line", ["X-Robots-Tag noai", "A: b\r\n X-Robots-Tag: noai", "tdm-reservation=1", "X Robots-Tag: noai"]
)
def test_a_reservation_in_a_malformed_line_refuses_the_answer(line: str) -> None:
    assert fetched(answer(IMAGE, JPEG, line)) == "protocol"


def test_every_tdm_reservation_header_counts_and_so_do_trailers() -> None:
    assert fetched(answer(IMAGE, JPEG, "tdm-reservation: 0", "tdm-reservation: 1")) == "tdm_reservation"
    assert fetched(answer(IMAGE, JPEG, "tdm-reservation: 0, 1")) == "tdm_reservation"
    assert fetched(chunked(IMAGE, end=b"0\r\ntdm-reservation: 1\r\n\r\n")) == "tdm_reservation"
    assert fetched(chunked(IMAGE, end=b"0\r\nX-Robots-Tag: noai\r\n\r\n")) == "noai"


@pytest.mark.parametrize("more", [b"x", b"\r\n", ok(7), HINTS, b"0\r\n\r\n", head(status="408 Request Timeout")])
@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_bytes_behind_an_answer_are_never_those_of_the_next_url(more: bytes, pause_s: float) -> None:
    answers = {f"/x/{number}": [ok(number), pause_s, more] for number in range(6)}
    with raw_serving(answers) as server, fetching(server.port, robots_txt=False, tdm_reservation=False) as policy:
        assert fetch(policy, f"{SITE}/x/0") == web.image(0)
        time.sleep(2 * pause_s)
        for number in range(1, 6):  # the host has shown what it is
            assert fetch(policy, f"{SITE}/x/{number}") == web.image(number)
        assert server.num_connections == 6


def test_a_server_that_answers_before_it_is_asked_is_not_believed() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                KEPT.append(listener.accept()[0])
                KEPT[-1].sendall(ok(7))

    threading.Thread(target=serve, daemon=True).start()
    with fetching(listener.getsockname()[1], robots_txt=False, tdm_reservation=False) as policy:
        connect = policy.client._connect

        def connect_and_wait(*where: Any) -> Any:
            made = connect(*where)
            time.sleep(0.2)
            return made

        policy.client._connect = connect_and_wait  # type: ignore[assignment, method-assign]
        assert failure(policy, f"{SITE}/ok/1") == "protocol"
    listener.close()


BENT = {
    "204": [head("Content-Length: 5", status="204 No Content"), b"hello"],
    "304": [head(status="304 Not Modified"), ok(7)],
    "no length": [head(JPEG, status="404 Not Found"), b"hello"],
    "too short a length": [head("Content-Length: 2", status="404 Not Found"), b"hello"],
    "too long a length": [head("Content-Length: 7", status="404 Not Found"), b"hello"],
    "length and chunks": [
        head("Content-Length: 2", "Transfer-Encoding: chunked", status="404 No"),
        b"0\r\n\r\n",
        ok(7),
    ],
    "chunks without an end": [head("Transfer-Encoding: chunked", status="404 Not Found"), b"2\r\nno\r\n"],
    "HTTP/1.0": [b"HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno"],
}


@pytest.mark.parametrize("pieces", BENT.values(), ids=BENT)
def test_an_answer_without_a_proven_end_ends_its_connection_and_keeps_its_status(pieces: list[Piece]) -> None:
    found = fetched(*pieces)
    assert isinstance(found, str)
    assert found.startswith("http_")


@pytest.mark.parametrize(
    "lines", [[], ["Connection: keep-alive"], ["Content-Length: 9"], ["Transfer-Encoding: chunked"]]
)
def test_a_redirect_is_followed_whatever_its_body(lines: list[str]) -> None:
    assert fetched(head("Location: /ok/5", *lines, status="302 Found")) == web.image(5)


@pytest.mark.parametrize(
    "words", ["none", "binary", "UTF-8", "aws-chunked", "identity, utf-8", "gzip", "br", "deflate"]
)
def test_an_image_that_says_that_it_is_encoded_is_kept(words: str) -> None:
    assert fetched(answer(IMAGE, JPEG, f"Content-Encoding: {words}")) == IMAGE


ENCODED = {
    "gzip": gzip.compress(IMAGE),
    "x-gzip": gzip.compress(IMAGE),
    "GZIP": gzip.compress(IMAGE[:100]) + gzip.compress(IMAGE[100:]) + b"rest",
    "gzip, gzip": gzip.compress(gzip.compress(IMAGE)),
    "utf-8, gzip": gzip.compress(IMAGE),
    "deflate": zlib.compress(IMAGE),
    "deflate ": zlib.compress(IMAGE, wbits=-15),
    "br": brotli.compress(IMAGE),
    "zstd": zstandard.compress(IMAGE),
    "gzip, br": brotli.compress(gzip.compress(IMAGE)),
}


@pytest.mark.parametrize("words", ENCODED)
def test_an_image_that_is_encoded_is_decoded(words: str) -> None:
    assert fetched(answer(ENCODED[words], JPEG, f"Content-Encoding: {words}")) == IMAGE


ZEROS = IMAGE + bytes(5_000_000)
DAMAGED = {
    "gzip": gzip.compress(ZEROS),
    "deflate": zlib.compress(ZEROS),
    "br": brotli.compress(ZEROS),
    "zstd": zstandard.compress(ZEROS),
    "gzip ": gzip.compress(IMAGE)[:-20],
    "gzip, gzip, gzip, gzip": IMAGE[2:],
    "compress": b"\x1f\x9d\x90" + IMAGE,
    "br ": brotli.compress(IMAGE)[:-20],
    "deflate ": b"\x78\x9c" + IMAGE,
    "gzip  ": gzip.compress(b"") * 40_000 + gzip.compress(IMAGE),
}


@pytest.mark.parametrize("words", DAMAGED)
def test_what_cannot_be_decoded_within_the_limit_has_its_reason(words: str) -> None:
    made = answer(DAMAGED[words], JPEG, f"Content-Encoding: {words}")
    assert fetched(made, max_body_bytes=1_000_000) == "content_encoding"


@pytest.mark.parametrize("words", ["gzip", "br", "utf-8", "none"])
@pytest.mark.parametrize("is_encoded", [True, False])
def test_robots_txt_is_obeyed_whatever_coding_it_says_it_has(words: str, is_encoded: bool) -> None:
    text = "# Бот\nUser-agent: *\nDisallow: /ok/1\n".encode() * 40
    body = {"gzip": gzip.compress, "br": brotli.compress}.get(words, bytes)(text) if is_encoded else text
    made = answer(body, "Content-Type: text/plain", f"Content-Encoding: {words}")
    with raw_serving({"/robots.txt": [made]}) as server, fetching(server.port) as policy:
        assert failure(policy, f"{SITE}/ok/1") == "robots_disallow"
        assert fetch(policy, f"{SITE}/ok/2") == web.image(2)


@pytest.mark.parametrize("lengths", ["{n}, {n}", "{n}\r\nContent-Length: {n}"])
def test_a_length_said_twice_is_one(lengths: str) -> None:
    assert fetched(head(JPEG, "Content-Length: " + lengths.format(n=len(IMAGE))) + IMAGE) == IMAGE
    assert fetched(head(JPEG, f"Content-Length: {len(IMAGE)}, 7") + IMAGE) == "protocol"


ENDLESS = [
    head(JPEG, "Transfer-Encoding: chunked") + b"-1\r\n",
    head(JPEG, "Transfer-Encoding: chunked") + b"7fffffffffffffff\r\n",
    head(JPEG, "Transfer-Encoding: chunked", status="404 Not Found") + b"-1\r\n",
    head("Location: /ok/1", "Transfer-Encoding: chunked", status="302 Found") + b"7fffffffffffffff\r\n",
    head(JPEG, "Connection: close"),
    head(JPEG, "Connection: close", status="500 Oops"),
    head("Content-Length: 99999999999", status="403 Forbidden"),
    HINTS * 3,
]


@pytest.mark.parametrize("path", ["/x", "/robots.txt", "/.well-known/tdmrep.json"])
@pytest.mark.parametrize("start", ENDLESS)
def test_no_body_is_read_beyond_the_limit_whoever_wants_it(start: bytes, path: str) -> None:
    more = [b"\xff\xd8\xff" + bytes(1_000_000)] * 60
    with raw_serving({path: [start, *more]}) as server, fetching(server.port, max_body_bytes=500_000) as policy:
        tracemalloc.start()
        for url in ("x", "ok/1"):
            with contextlib.suppress(FetchFailed):
                fetch(policy, f"{SITE}/{url}")
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert server.num_sent < 20_000_000  # what the system's own buffers take
        assert held < 10_000_000 + 2 * len(more[0])


def test_a_busy_server_that_names_any_date_is_left_alone() -> None:
    made = answer(b"later", "Retry-After: Fri, 31 Dec 99999999999 23:59:59 GMT", status="503 \x1b[2J\x9bx\x85y")
    with raw_serving({"/x": [made]}) as server, fetching(server.port, retries=3) as policy:
        with pytest.raises(FetchFailed, match="http_503: \\[2J\ufffdx y"):
            policy.open(f"{SITE}/x")
        assert failure(policy, f"{SITE}/ok/1") == "http_503"
        assert server.paths.count("/x") == 1


def test_a_living_host_is_fetched_beside_many_whose_names_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def look_up(host: str) -> list[str]:
        if host.startswith("dead"):
            hang.wait(15)
        return ["127.0.0.1"]

    monkeypatch.setattr(addresses, "is_public", lambda address: True)
    with raw_serving({}) as server, fetching(server.port, look_up, connect_to=(), deadline_s=1.0) as policy:
        urls = [f"http://dead{number}.test/x" for number in range(64)]
        urls[32:32] = [f"http://living.test:{server.port}/ok/{number}" for number in range(10)]
        with ThreadPoolExecutor(64) as threads:
            found = list(threads.map(functools.partial(word_or_body, policy), urls))
        hang.set()
    assert found[32:42] == [web.image(number) for number in range(10)]
    assert set(found[:32] + found[42:]) == {"timeout"}


def test_the_cases_of_public_reports_are_kept_or_refused_as_they_should() -> None:
    folder = SHARED.parent / "cases" / "data"
    if not folder.exists():
        pytest.skip("the shared cases are not beside the checkout")
    for path in sorted(folder.glob("*.http")):
        found = fetched(*_pieces(path))
        assert found == ("noai" if path.name.startswith("02_") else path.read_bytes().rpartition(b"\r\n\r\n")[2]), (
            path.name
        )


def _pieces(path: Path) -> list[Piece]:
    whole = path.read_bytes()
    if not path.name.startswith("01_"):
        return [whole]
    hints, _, rest = whole.partition(b"\r\n\r\n")
    return [hints + b"\r\n\r\n", 0.25, rest]
