"""A proxy before an object store which answers many requests as an overloaded one does: 503, 500, not at all, or with
the first half of the content."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

KINDS = ("503", "500", "hang up")


class Proxy(http.server.ThreadingHTTPServer):
    """Of each method every sixth request fails, each time in the next of `kinds`; `refused` counts them by method and
    kind. Both may be changed while it runs."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = urlsplit(endpoint).netloc
        self.every, self.kinds = 6, KINDS
        self.lock = threading.Lock()
        self.number: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Forwards a request whole, or fails."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """Any method."""
        if "100-continue" in self.headers.get("Expect", ""):
            self.send_response_only(100)
            self.end_headers()
        body = self.body()
        with self.server.lock:
            self.server.number[self.command] += 1
            number = self.server.number[self.command]
        every, kinds = self.server.every, self.server.kinds
        kind = kinds[number // every % len(kinds)] if number % every == 0 else ""
        if kind:
            self.server.refused[f"{self.command} {kind}"] += 1
        if kind and kind != "cut":
            self.fail(kind)
            return
        link = http.client.HTTPConnection(self.server.behind)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
        link.request(self.command, self.path, body, headers)
        answer = link.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header(
            "Content-Length", (answer.getheader("Content-Length") or "0") if is_head else str(len(content))
        )
        self.end_headers()
        if kind == "cut":
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)
        link.close()

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def body(self) -> bytes:
        """The request's whole body."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        del self.headers["Transfer-Encoding"]
        return b"".join(pieces)

    def fail(self, kind: str) -> None:
        """As told."""
        if kind == "hang up":
            self.close_connection = True
            return
        code = {"503": "SlowDown", "500": "InternalError"}[kind]
        text = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>".encode()
        self.send_response_only(int(kind), code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextlib.contextmanager
def before(endpoint: str) -> Iterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(endpoint)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
