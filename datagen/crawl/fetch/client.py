"""HTTP/1.1 over checked addresses: one request with one deadline, on a connection that is kept for the next one."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from types import TracebackType

from datagen.crawl.fetch.addresses import Resolver
from datagen.crawl.fetch.failures import FetchFailed, failure_of
from datagen.crawl.fetch.limits import Deadline
from datagen.crawl.fetch.response import Response
from datagen.crawl.fetch.url import WebAddress

_MAX_IDLE = 256  # connections kept open in a worker
_IDLE_S = 15.0  # for so long
_QUIET_S = 0.005  # that a connection is silent before it is used again: what still comes then is no answer to the next
_MAX_DISTRUSTED = 10_000  # servers that sent what nobody had asked for, whose connections are not kept

Socket = socket.socket  # ssl.SSLSocket is one


class ConnectionPool:
    """Idle connections by origin, a limited number for a limited time."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Socket, tuple[str, float]] = OrderedDict()  # oldest first
        self._by_origin: dict[str, list[Socket]] = {}
        self._distrusted: OrderedDict[str, None] = OrderedDict()
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
            idle_s = time.monotonic() - since
            if idle_s < _IDLE_S and self._is_silent(origin, sock, _QUIET_S - idle_s):
                return sock
            sock.close()

    def _is_silent(self, origin: str, sock: Socket, wait_s: float = 0.0) -> bool:
        """Whether nothing comes unasked within some time, not even the end."""
        if not _is_readable(sock, wait_s):
            return True
        if _has_surplus(sock):
            self.distrust(origin)
        return False

    def distrust(self, origin: str) -> None:
        """Keeps no connection to a server that sent more than it was asked for: what comes late enough, the next
        request would take for its own answer."""
        with self._lock:
            self._distrusted[origin] = None
            while len(self._distrusted) > _MAX_DISTRUSTED:
                self._distrusted.popitem(last=False)

    def put(self, origin: str, sock: Socket) -> None:
        """Keeps a connection whose last answer was read to its end."""
        if origin in self._distrusted or not self._is_silent(origin, sock):
            sock.close()
            return
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


def _is_readable(sock: Socket, wait_s: float) -> bool:
    """Whether something can be read within some time, which is most often the end."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()  # select.select fails above 1,024 open files
    poll.register(sock, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(max(0.0, 1000 * wait_s)))


def _has_surplus(sock: Socket) -> bool:
    """Whether what can be read unasked is more than the end. TLS has messages of its own, so there it is not known."""
    if isinstance(sock, ssl.SSLSocket):
        return bool(sock.pending())
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


class Exchange(Response):
    """A request that has been answered with headers. Use it as a context: it keeps the connection or closes it."""

    def __init__(self, pool: ConnectionPool, origin: str, sock: Socket, deadline: Deadline) -> None:
        self._pool, self._origin = pool, origin
        super().__init__(sock, deadline)

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_read() and self.surplus():
            self._pool.distrust(self._origin)
        elif self.is_read() and self.may_keep:
            self._pool.put(self._origin, self.sock)
            return
        self.sock.close()


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
            except (ConnectionError, ssl.SSLEOFError):
                continue  # the server had closed it meanwhile: that says nothing of this request
            except FetchFailed as failure:
                if failure.reason != "protocol":  # else it may be the rest of what was answered before
                    raise
            except Exception as error:
                raise failure_of(error, self.deadline_s) or error from None
        try:
            sock = self._connect(address, deadline)
        except Exception as error:
            raise failure_of(error, self.deadline_s, connecting=True) or error from None
        if _is_readable(sock, 0.0) and _has_surplus(sock):
            sock.close()
            raise FetchFailed("protocol", "it answers before it is asked")
        try:
            return self._exchange(address, sock, request, deadline)
        except Exception as error:
            raise failure_of(error, self.deadline_s) or error from None

    def _exchange(self, address: WebAddress, sock: Socket, request: bytes, deadline: Deadline) -> Exchange:
        with contextlib.ExitStack() as unless_it_answers:
            unless_it_answers.callback(sock.close)
            sock.settimeout(deadline.left())
            sock.sendall(request)
            exchange = Exchange(self.pool, address.origin, sock, deadline)
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
        try:
            wrapped = self.tls.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
        except ValueError as error:
            raise FetchFailed("url", f"no certificate can name the host ({error})") from None
        with contextlib.ExitStack() as unless_it_shakes_hands:
            unless_it_shakes_hands.callback(wrapped.close)
            wrapped.settimeout(deadline.left())  # of the handshake as a whole, CPython sees to that
            wrapped.do_handshake()
            unless_it_shakes_hands.pop_all()
        return wrapped
