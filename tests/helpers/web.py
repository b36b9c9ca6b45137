"""A small web server on loopback whose every misbehaviour has a path of its own."""

from __future__ import annotations

import contextlib
import http.server
import io
import threading
import time
from collections.abc import Iterator

from PIL import Image


def picture(shade: int, size: tuple[int, int] = (120, 80)) -> bytes:
    """A JPEG that differs by `shade`."""
    stream = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 255 - shade % 256, 100)).save(stream, "JPEG")
    return stream.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """/ok/N is picture N; other paths say what they do."""

    protocol_version = "HTTP/1.1"
    delay_s = 0.0

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """Answers one request; a client that hangs up is no error."""
        with contextlib.suppress(OSError):
            self.answer(self.path.lstrip("/").split("/"))

    def answer(self, parts: list[str]) -> None:
        """By the first part of the path."""
        name, body, status, headers = parts[0], picture(1), 200, {}
        if name == "ok":
            time.sleep(self.delay_s)
            body = picture(int(parts[1]))
        elif name == "status":
            status, body = int(parts[1]), b"no"
        elif name == "redirect":
            status, body, headers = 302, b"", {"Location": "/".join(parts[1:]) or "/redirect"}
        elif name == "agent":
            status, body = (200, body) if "openwit" in self.headers["User-Agent"] else (403, b"no")
        elif name == "html":
            body = b"<html>a page</html>"
        elif name == "truncated":
            body = body[:-40]
        elif name == "noai":
            headers = {"X-Robots-Tag": "noai"}
        elif name in ("drip", "short"):
            headers = {"Content-Length": str(len(body))}
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if name == "drip":
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif name == "short":
            self.wfile.write(body[:50])
            self.close_connection = True
        else:
            self.wfile.write(body)


@contextlib.contextmanager
def running(delay_s: float = 0.0) -> Iterator[int]:
    """The port of a running server."""
    handler = type("Delayed", (Handler,), {"delay_s": delay_s})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
