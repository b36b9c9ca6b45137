# mypy: disable-error-code="func-returns-value"
from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from datagen.crawl.fetch import client as connections
from datagen.crawl.fetch.addresses import Resolver
from datagen.crawl.fetch.client import ConnectionPool, HttpClient
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.limits import Deadline
from datagen.crawl.fetch.url import WebAddress
from helpers import web
from helpers.fetching import failure, fetch, fetching
from helpers.patience import patience
from helpers.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def _trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """The port of a server that answers each request of a connection with the next of these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            for answer in answers:
                connection.recv(65_536)
                connection.sendall(answer)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()


def get(port: int, deadline_s: float = 60.0, limit: int = 1000) -> bytes:
    client = HttpClient(Resolver((f"a.test=127.0.0.1:{port}",)), "test/1", deadline_s)
    with client.get(WebAddress.parse("http://a.test/"), Deadline(deadline_s)) as exchange:
        return exchange.read(limit)


def refused(answer: bytes, **fields: float) -> str:
    with answering(answer) as port, pytest.raises(FetchFailed) as caught:
        get(port, **fields)  # type: ignore[arg-type]
    return caught.value.reason


def test_one_connection_serves_one_request_after_another() -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        for number in range(5):
            fetch(policy, f"http://a.example.test/ok/{number}")
        for path in ("status/404", "redirect//ok/3", "page"):
            with contextlib.suppress(FetchFailed):
                fetch(policy, f"http://a.example.test/{path}")
        assert server.num_connections == 1


@pytest.mark.parametrize("path", ["close", "noai", "huge", "short"])
def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_used_again(path: str) -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        with contextlib.suppress(FetchFailed):
            fetch(policy, f"http://a.example.test/{path}")
        assert fetch(policy, "http://a.example.test/ok/4") == web.image(4)
        assert server.num_connections == 2


def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        fetch(policy, "http://a.example.test/ok/1")
        (idle,) = policy.client.pool._idle
        idle.shutdown(socket.SHUT_RDWR)
        assert fetch(policy, "http://a.example.test/ok/2") == web.image(2)
        assert server.num_connections == 2


def test_hosts_and_schemes_do_not_share_connections() -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        fetch(policy, "http://a.example.test/ok/1")
        fetch(policy, "http://b.example.test/ok/1")
        assert server.num_connections == 2


def test_idle_connections_are_limited_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MAX_IDLE", 3)
    pool = ConnectionPool()
    pairs = [socket.socketpair() for _ in range(5)]
    for number, (ours, _) in enumerate(pairs):
        pool.put(f"http://{number % 2}", ours)
    assert [ours.fileno() == -1 for ours, _ in pairs] == [True, True, False, False, False]
    assert pool.take("http://0") is pairs[4][0]
    monkeypatch.setattr(connections, "_IDLE_S", 0.0)
    assert pool.take("http://0") is None
    assert pairs[2][0].fileno() == -1
    for sockets in pairs:
        for each in sockets:
            each.close()


def test_a_failure_closes_its_connection_unless_the_response_was_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with web.serving() as server, fetching(server.server_port, deadline_s=0.2) as policy:
        made: list[socket.socket] = []
        connect = policy.client._connect
        monkeypatch.setattr(policy.client, "_connect", lambda *where: made.append(connect(*where)) or made[-1])
        for path in ("drip", "short", "reset", "huge", "drip_headers"):
            failure(policy, f"http://a.example.test/{path}")
        assert len(made) == 5
        assert all(sock.fileno() == -1 for sock in made)
        assert failure(policy, "http://a.example.test/gzip") == "not_an_image"
        assert made[-1].fileno() != -1


@pytest.mark.usefixtures("_trusted")
def test_https_is_fetched_over_one_connection_with_the_hosts_own_name(authority: Authority) -> None:
    tls = authority.server_context("a.example.test")
    names: list[str] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    with web.serving(tls=tls) as server, fetching(server.server_port) as policy:
        for number in range(3):
            assert fetch(policy, f"https://a.example.test/ok/{number}") == web.image(number)
        assert server.num_connections == 1
        assert names == ["a.example.test"]


@pytest.mark.usefixtures("_trusted")
def test_a_certificate_of_another_host_is_refused(authority: Authority) -> None:
    tls = authority.server_context("b.example.test")
    with web.serving(tls=tls) as server, fetching(server.server_port) as policy:
        assert failure(policy, "https://a.example.test/ok/1") == "bad_certificate"


def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    tls = authority.server_context("a.example.test")
    with web.serving(tls=tls) as server, fetching(server.server_port) as policy:
        assert failure(policy, "https://a.example.test/ok/1") == "bad_certificate"


@pytest.mark.usefixtures("_trusted")
def test_a_redirect_from_https_to_http_is_followed_and_checked(authority: Authority) -> None:
    tls = authority.server_context("a.example.test")
    with web.serving(tls=tls) as server, fetching(server.server_port) as policy:
        assert failure(policy, "https://a.example.test/redirect/http://127.0.0.1/") == "address_private"


def test_one_tls_context_serves_all_connections(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    create = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: made.append(1) or create())
    tls = authority.server_context("a.example.test")
    with web.serving(tls=tls) as server, fetching(server.server_port) as policy:
        for _ in range(3):
            failure(policy, "https://a.example.test/ok/1")
    assert made == [1]


def test_http_where_https_is_asked_is_tls() -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        assert failure(policy, "https://a.example.test/ok/1") == "tls"


def test_a_handshake_that_never_ends_ends_at_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with fetching(listener.getsockname()[1], deadline_s=0.3) as policy:
        started = time.monotonic()
        assert failure(policy, "https://a.example.test/ok/1") == "timeout"
        assert time.monotonic() - started < patience(2)
    listener.close()


def test_a_server_that_takes_the_request_and_says_nothing_ends_at_the_deadline() -> None:
    assert refused(b"", deadline_s=0.3) == "connection_reset"
    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(FetchFailed, match=r"timeout: not done within 0.3 s"):
        get(listener.getsockname()[1], deadline_s=0.3)
    listener.close()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", "too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, "too_large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nab", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnumber\r\nab", "incomplete"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "content_encoding"),
    ],
)
def test_an_answer_that_breaks_the_rules_has_its_reason(answer: bytes, word: str) -> None:
    assert refused(answer) == word


def test_bodies_of_every_framing_are_read_whole() -> None:
    for head in (
        b"Content-Length: 5\r\n\r\nhello",
        b"\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ):
        with answering(b"HTTP/1.1 200 OK\r\n" + head) as port:
            assert get(port) == b"hello"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with web.serving() as server, fetching(server.server_port) as policy:
        places = [("127.0.0.1", 1), ("127.0.0.1", server.server_port)]
        monkeypatch.setattr(policy.resolver, "addresses", lambda host, port, deadline: places)
        assert fetch(policy, "http://a.example.test/ok/1") == web.image(1)
