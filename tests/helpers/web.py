"""A small web server on loopback whose every misbehaviour has a path of its own."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import io
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from PIL import Image

SLOW_S = 0.3  # that /slow/URL takes to redirect
PAGE = b"<html>a page</html>"
HEADERS = {
    "noai": {"X-Robots-Tag": "noai"},
    "tdm": {"tdm-reservation": "1"},
    "page": {"Content-Type": "text/html; charset=utf-8"},
    "posing": {"Content-Type": "image/jpeg"},
    "gzip": {"Content-Encoding": "gzip", "Content-Type": "image/png"},
    "huge": {"Content-Length": "100000000000"},
    "close": {"Connection": "close"},
}


def image(shade: int, size: tuple[int, int] = (120, 80)) -> bytes:
    """A JPEG that differs by `shade`."""
    stream = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 255 - shade % 256, 100)).save(stream, "JPEG")
    return stream.getvalue()


@functools.cache
def bomb() -> bytes:
    """20 MB in 20 kB of gzip."""
    return gzip.compress(bytes(20_000_000))


class Server(http.server.ThreadingHTTPServer):
    """Counts what it sees; `texts` (host/path → body) are answered first, "503" and the like as that status."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, delay_s: float, texts: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.delay_s, self.texts, self.tls = delay_s, texts, tls
        self.lock = threading.Lock()
        self.starts: list[tuple[float, str]] = []  # when each request came, and for host/path
        self.num_connections = 0
        self.running: Counter[str] = Counter()  # requests being answered, by host
        self.most: Counter[str] = Counter()  # the most of them at once

    @property
    def paths(self) -> list[str]:
        """host/path of each request, in order."""
        return [name for _, name in self.starts]

    def handle_error(self, *_: object) -> None:
        """A crawler that hangs up is no error."""


class Handler(http.server.BaseHTTPRequestHandler):
    """/ok/N is image N; other paths say what they do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def setup(self) -> None:
        """The handshake belongs to the connection's own thread."""
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        with self.server.lock:
            self.server.num_connections += 1
        super().setup()

    def do_GET(self) -> None:
        """Answers one request; a client that hangs up is no error."""
        host = self.headers["Host"].partition(":")[0]
        name, server = host + self.path, self.server
        with server.lock:
            server.starts.append((time.monotonic(), name))
            server.running[host] += 1
            server.most[host] = max(server.most[host], server.running[host])
            seen = server.paths.count(name)
        try:
            with contextlib.suppress(OSError):
                if name in server.texts:
                    self.text(server.texts[name])
                elif self.path in ("/robots.txt", "/.well-known/tdmrep.json"):
                    self.text("404")
                else:
                    self.answer(self.path.partition("?")[0].lstrip("/").split("/"), seen)
        finally:
            with server.lock:
                server.running[host] -= 1

    def text(self, text: str) -> None:
        """A text, or the status that it names, or the address that it redirects to."""
        if text.startswith("http"):
            self.send(302, b"", {"Location": text})
        else:
            self.send(int(text) if text.isdigit() else 200, text.encode(), {"Content-Type": "text/plain"})

    def answer(self, parts: list[str], seen: int) -> None:
        """By the first part of the path; `seen` counts the requests for it."""
        name, status = parts[0], 200
        body, headers = image(1), HEADERS.get(parts[0], {})
        if name == "ok":
            time.sleep(self.server.delay_s)
            body = image(int(parts[1]))
        elif name == "status":
            status, body = int(parts[1]), body if "image" in parts else b"no"
        elif name == "busy" and seen <= int(parts[1]):  # busy/TIMES/STATUS/RETRY-AFTER
            status, body, headers = int(parts[2]), b"later", {"Retry-After": unquote(parts[3])}
        elif name in ("redirect", "slow"):
            time.sleep(SLOW_S if name == "slow" else 0)
            status, body, headers = 302, b"", {"Location": "/".join(parts[1:]) or "/redirect"}
        elif name == "agent":
            status, body = (200, body) if "openwit" in self.headers["User-Agent"] else (403, b"no")
        elif name in ("html", "page", "posing"):
            body = PAGE
        elif name == "gzip":
            body = bomb()
        elif name == "truncated":
            body = body[:-40]
        elif name == "tag":
            headers = {"X-Robots-Tag": unquote(parts[1])}
        if name in ("drip", "drip_headers", "short", "endless", "chunks", "reset"):
            self.misbehave(name, body)
        else:
            self.send(status, body, headers)

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def misbehave(self, name: str, body: bytes) -> None:
        """An answer that does not end well."""
        self.close_connection = True
        if name == "drip_headers":
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                self.wfile.write(bytes([byte]))
                time.sleep(0.03)
        length = f"Content-Length: {len(body)}\r\n" if name in ("drip", "short", "reset") else ""
        length = "Transfer-Encoding: chunked\r\n" if name == "chunks" else length
        self.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode())
        if name == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.03)
        while name in ("endless", "chunks"):
            self.wfile.write(body if name == "endless" else b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.write(body[:50])
        if name == "reset":
            time.sleep(0.02)  # so that headers and half a body are read before
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@contextlib.contextmanager
def serving(
    *, delay_s: float = 0.0, texts: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A running server."""
    server = Server(delay_s, texts or {}, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def running(delay_s: float = 0.0) -> Iterator[int]:
    """The port of a running server."""
    with serving(delay_s=delay_s) as server:
        yield server.server_port
