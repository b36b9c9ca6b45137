"""What may be fetched: an opener for `urllib.request` that decides scheme, address, redirects, time and bytes.

img2dataset fetches through `urllib.request.urlopen`, so installing this opener puts every fetch under it. A name is
looked up once, the address is checked, and the connection goes to that address; a redirect passes the same gate.
"""

from __future__ import annotations

import fnmatch
import http.client
import ipaddress
import socket
import ssl
import time
import urllib.request
from email.message import Message
from typing import IO, Any, cast

from datagen.config import CrawlConfig


class Refused(Exception):
    """A fetch that the policy forbids or cuts off; the reason starts with a fixed word (see reasons.py)."""


class DeadlineSocket(socket.socket):
    """A socket whose reads and writes share one deadline, however slowly the bytes drip."""

    deadline: float = 0.0

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)

    def recv_into(self, *arguments: Any) -> int:
        self._arm()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._arm()
        super().sendall(*arguments)


class DeadlineTlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    deadline: float = 0.0

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().read(len, buffer) if buffer is not None else super().read(len)


class CappedResponse(http.client.HTTPResponse):
    """A response that stops at `max_body_bytes` when it is read whole."""

    max_body_bytes = 0

    def read(self, amt: int | None = None) -> bytes:
        if amt is not None:
            return super().read(amt)
        if (self.length or 0) > self.max_body_bytes:
            raise Refused(f"too_large: the body has {self.length} bytes, the limit is {self.max_body_bytes}")
        body, declared = super().read(self.max_body_bytes + 1), self.length
        if len(body) > self.max_body_bytes:
            raise Refused(f"too_large: the body passes the limit of {self.max_body_bytes} bytes")
        if declared:
            raise http.client.IncompleteRead(body, declared)
        return body


class FetchPolicy:
    """The rules of one crawl, and the connections that keep them."""

    def __init__(self, config: CrawlConfig) -> None:
        self.config = config
        self.tls = ssl.create_default_context()  # made once: OpenSSL 3 loads its certificates at each creation
        self.tls.sslsocket_class = DeadlineTlsSocket
        self.response_class = type("Response", (CappedResponse,), {"max_body_bytes": config.max_body_bytes})

    def addresses(self, host: str, port: int) -> list[tuple[str, int]]:
        """The checked (address, port) pairs to connect to, in the order to try.

        Raises Refused where an address is not on the public internet and `connect_to` does not name the host.
        """
        for entry in self.config.connect_to:
            pattern, _, address = entry.partition("=")
            if fnmatch.fnmatchcase(host.lower(), pattern.lower()):
                target, _, target_port = address.rpartition(":")
                return [(target, int(target_port))]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(cast(str, entry[4][0]) for entry in found))
        for address in addresses:
            if not is_public(address):
                raise Refused(f"refused_address: {host} is {address}, which is not on the public internet")
        return [(address, port) for address in addresses]

    def connect(self, host: str, port: int, deadline: float) -> DeadlineSocket:
        """A connected socket with its deadline set."""
        problem: OSError | None = None
        for address, number in self.addresses(host, port):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            connection = DeadlineSocket(family, socket.SOCK_STREAM)
            connection.deadline = deadline
            try:
                connection._arm()
                connection.connect((address, number))
                return connection
            except OSError as error:
                connection.close()
                problem = error
        raise problem or OSError(f"{host} has no address")

    def opener(self) -> urllib.request.OpenerDirector:
        """The opener with these rules and nothing else: no proxies, no file:, data: or ftp:."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            PolicyHandler(self),
            PolicyRedirects(self),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        return opener


def is_public(address: str) -> bool:
    """Whether an address lies on the public internet; IPv4 inside IPv6 is judged as IPv4."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast


class PolicyHandler(urllib.request.AbstractHTTPHandler):
    """Opens http and https URLs over the policy's connections."""

    def __init__(self, policy: FetchPolicy) -> None:
        super().__init__()
        self.policy = policy

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Sets the deadline once a fetch (redirects share it), and the crawler's own name."""
        if not hasattr(request, "deadline"):
            request.deadline = time.monotonic() + self.policy.config.deadline_s  # type: ignore[attr-defined]
        request.add_unredirected_header("User-agent", self.policy.config.user_agent)
        request.headers.pop("User-agent", None)
        return self.do_request_(request)

    https_request = http_request

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Plain, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(_Tls, request)

    def _open(self, kind: type[_Plain], request: urllib.request.Request) -> http.client.HTTPResponse:
        deadline: float = request.deadline  # type: ignore[attr-defined]

        def connection(host: str, **_: object) -> _Plain:
            return kind(host, self.policy, deadline)

        return self.do_open(cast(Any, connection), request)


class PolicyRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a limited number of redirects within the first request's deadline."""

    def __init__(self, policy: FetchPolicy) -> None:
        self.limit = policy.config.max_redirects

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, cast(Any, headers), newurl)
        if new is not None:
            new.num_redirects = getattr(req, "num_redirects", 0) + 1  # type: ignore[attr-defined]
            if new.num_redirects > self.limit:  # type: ignore[attr-defined]
                raise Refused(f"too_many_redirects: more than {self.limit}")
            new.deadline = req.deadline  # type: ignore[attr-defined]
        return new


class _Plain(http.client.HTTPConnection):
    def __init__(self, host: str, policy: FetchPolicy, deadline: float) -> None:
        super().__init__(host)
        self.policy = policy
        self.deadline = deadline
        self.response_class = policy.response_class

    def connect(self) -> None:
        self.sock = self.policy.connect(self.host, self.port, self.deadline)


class _Tls(_Plain):
    default_port = 443

    def connect(self) -> None:
        super().connect()
        wrapped = self.policy.tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        cast(DeadlineTlsSocket, wrapped).deadline = self.deadline
        wrapped.settimeout(max(self.deadline - time.monotonic(), 0.001))
        wrapped.do_handshake()
        self.sock = wrapped
