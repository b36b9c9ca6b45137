"""HTTP/1.1 over checked addresses: one request with one deadline, on a connection that is kept for the next one."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from types import TracebackType
from typing import Any, cast

from datagen.crawl.fetch.addresses import Resolver
from datagen.crawl.fetch.failures import FetchFailed, failure_of
from datagen.crawl.fetch.limits import Deadline
from datagen.crawl.fetch.url import WebAddress

_MAX_IDLE = 256  # connections kept open in a worker
_IDLE_S = 15.0  # for so long
_READ_BYTES = 65_536
_MAX_SKIPPED_BYTES = 65_536  # of a body nobody wants that are read to keep its connection

Socket = socket.socket  # ssl.SSLSocket is one


class _BodyReader(io.RawIOBase):
    """Reads a socket up to the deadline, however slowly the bytes drip; closing it leaves the socket open."""

    def __init__(self, sock: Socket, deadline: Deadline) -> None:
        self.sock, self.deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.sock.settimeout(self.deadline.left())
        return self.sock.recv_into(buffer)


class _Answering:
    """What http.client wants of a socket: a file to read the answer from."""

    def __init__(self, sock: Socket, deadline: Deadline) -> None:
        self.sock, self.deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BodyReader(self.sock, self.deadline), _READ_BYTES)


class ConnectionPool:
    """Idle connections by origin, a limited number for a limited time."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Socket, tuple[str, float]] = OrderedDict()  # oldest first
        self._by_origin: dict[str, list[Socket]] = {}
        self._lock = threading.Lock()

    def take(self, origin: str) -> Socket | None:
        """The connection to that origin which was used last and still stands."""
        while True:
            with self._lock:
                sockets = self._by_origin.get(origin)
                if not sockets:
                    return None
                sock = sockets.pop()
                _, since = self._idle.pop(sock)
                if not sockets:
                    del self._by_origin[origin]
            if time.monotonic() - since < _IDLE_S and not _is_readable(sock):
                return sock
            sock.close()

    def put(self, origin: str, sock: Socket) -> None:
        """Keeps a connection whose last answer was read to its end."""
        closing = []
        with self._lock:
            self._idle[sock] = origin, time.monotonic()
            self._by_origin.setdefault(origin, []).append(sock)
            while len(self._idle) > _MAX_IDLE or time.monotonic() - next(iter(self._idle.values()))[1] > _IDLE_S:
                oldest, (owner, _) = self._idle.popitem(last=False)  # never the new one: it is the youngest
                self._by_origin[owner].remove(oldest)
                if not self._by_origin[owner]:
                    del self._by_origin[owner]
                closing.append(oldest)
        for oldest in closing:
            oldest.close()


def _is_readable(sock: Socket) -> bool:
    """Whether something came unasked, which is most often the end."""
    poll = select.poll()  # select.select fails above 1,024 open files
    poll.register(sock, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


class Exchange:
    """A request that has been answered with headers. Use it as a context: it keeps the connection or closes it."""

    def __init__(self, client: HttpClient, address: WebAddress, answering: _Answering) -> None:
        self._client, self._address, self._sock = client, address, answering.sock
        self._response = http.client.HTTPResponse(cast(Any, answering), method="GET")
        self._response.begin()
        self._is_broken = False
        self.deadline = answering.deadline
        self.status, self.reason = self._response.status, self._response.reason
        self.headers = self._response.headers

    def length(self) -> int | None:
        """The declared bytes of the body; None where they are not declared."""
        return self._response.length

    def read(self, limit: int) -> bytes:
        """The whole body. Raises FetchFailed: too_large above `limit` bytes, content_encoding, incomplete, timeout …"""
        self._check_encoding()
        length = self.length()
        if length is not None and length > limit:
            raise FetchFailed("too_large", f"{length} bytes, the limit is {limit}")
        body = self._take(limit + 1 if length is None else length)
        if len(body) > limit:
            raise FetchFailed("too_large", f"the body passes the limit of {limit} bytes")
        if length is not None and len(body) < length:
            raise FetchFailed("incomplete", "the body ends before its declared length", again=True)
        return body

    def read_head(self, limit: int) -> bytes:
        """The first `limit` bytes of the body, or all of it. Raises FetchFailed as `read` does."""
        self._check_encoding()
        return self._take(limit)

    def _check_encoding(self) -> None:
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise FetchFailed("content_encoding", f"{encoding[:40]}, though none was accepted")

    def skip(self) -> None:
        """Reads a short body that nobody wants, so that its connection can be kept."""
        if (self.length() or 0) <= _MAX_SKIPPED_BYTES:
            self._take(_MAX_SKIPPED_BYTES)

    def _take(self, num_bytes: int) -> bytes:
        try:
            return self._response.read(num_bytes) if num_bytes else b""
        except Exception as error:
            self._is_broken = True
            raise failure_of(error, self._client.deadline_s) or error from None

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        length = self._response.length
        finished = length == 0 or (length is None and self._response.isclosed())
        keep = finished and not self._is_broken and not self._response.will_close
        self._response.close()
        if keep:
            self._client.pool.put(self._address.origin, self._sock)
        else:
            self._sock.close()


class HttpClient:
    """GET requests under the crawler's own name. Certificates are checked, no proxy is used."""

    def __init__(self, resolver: Resolver, user_agent: str, deadline_s: float) -> None:
        self.resolver, self.deadline_s = resolver, deadline_s
        self.pool = ConnectionPool()
        self.tls = ssl.create_default_context()  # made once: OpenSSL 3 loads its certificates at each creation
        self._common = f"User-Agent: {user_agent}\r\nAccept: image/*,*/*;q=0.5\r\nAccept-Encoding: identity\r\n\r\n"

    def get(self, address: WebAddress, deadline: Deadline) -> Exchange:
        """The answer's status and headers, the body still to be read. Raises FetchFailed."""
        request = f"GET {address.target} HTTP/1.1\r\nHost: {address.netloc}\r\n{self._common}".encode("latin-1")
        while (sock := self.pool.take(address.origin)) is not None:
            try:
                return self._exchange(address, sock, request, deadline)
            except (ConnectionError, http.client.BadStatusLine, ssl.SSLEOFError):
                continue  # the server had closed it meanwhile: that says nothing of this request
            except Exception as error:
                raise failure_of(error, self.deadline_s) or error from None
        try:
            sock = self._connect(address, deadline)
        except Exception as error:
            raise failure_of(error, self.deadline_s, connecting=True) or error from None
        try:
            return self._exchange(address, sock, request, deadline)
        except Exception as error:
            raise failure_of(error, self.deadline_s) or error from None

    def _exchange(self, address: WebAddress, sock: Socket, request: bytes, deadline: Deadline) -> Exchange:
        with contextlib.ExitStack() as unless_it_answers:
            unless_it_answers.callback(sock.close)
            sock.settimeout(deadline.left())
            sock.sendall(request)
            exchange = Exchange(self, address, _Answering(sock, deadline))
            unless_it_answers.pop_all()
            return exchange

    def _connect(self, address: WebAddress, deadline: Deadline) -> Socket:
        places = self.resolver.addresses(address.host, address.port, deadline)
        problem: OSError = OSError("it has no address")
        for index, (host, port) in enumerate(places):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.settimeout(deadline.left() / (len(places) - index))
                sock.connect((host, port))
                return self._wrap(sock, address, deadline) if address.scheme == "https" else sock
            except OSError as error:
                sock.close()
                problem = error
        raise problem

    def _wrap(self, sock: Socket, address: WebAddress, deadline: Deadline) -> Socket:
        wrapped = self.tls.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
        with contextlib.ExitStack() as unless_it_shakes_hands:
            unless_it_shakes_hands.callback(wrapped.close)
            wrapped.settimeout(deadline.left())  # of the handshake as a whole, CPython sees to that
            wrapped.do_handshake()
            unless_it_shakes_hands.pop_all()
        return wrapped
