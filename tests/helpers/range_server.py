"""A web server on loopback that hands out a folder's files, with or without byte ranges."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of `folder`; `sent` collects the sizes of the bodies."""

    folder: Path
    gives_ranges: bool
    sent: list[int]

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        """The headers alone."""
        self.answer(with_body=False)

    def do_GET(self) -> None:
        """The whole file, or the range that is asked for."""
        with contextlib.suppress(OSError):
            self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        """One file, by its name."""
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if self.gives_ranges else None
        body = data[int(wanted[1]) : int(wanted[2] or len(data)) + 1] if wanted else data
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes" if self.gives_ranges else "none")
        if wanted:
            self.send_header("Content-Range", f"bytes {wanted[1]}-{int(wanted[1]) + len(body) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.sent.append(len(body))
            self.wfile.write(body)


@contextlib.contextmanager
def serving(folder: Path, *, gives_ranges: bool = True) -> Iterator[tuple[str, list[int]]]:
    """The URL of the folder on a running server, and the sizes of the bodies that it sent, as they come."""
    sent: list[int] = []
    handler = type("Handler", (Handler,), {"folder": folder, "gives_ranges": gives_ranges, "sent": sent})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
