"""A web server on loopback that answers with given bytes, whatever HTTP says of them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from helpers import web

Piece = bytes | float | None  # sent; a pause in seconds; the end of the connection
IMAGE = web.image(9)


def ok(number: int) -> bytes:
    """A well-made answer with image `number`."""
    return answer(web.image(number), "Content-Type: image/jpeg")


def answer(body: bytes = IMAGE, *headers: str, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    return head(*headers, f"Content-Length: {len(body)}", status=status) + body


def head(*headers: str, status: str = "200 OK") -> bytes:
    """Status line and headers."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, "")).encode("latin-1")


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer in chunks."""
    made = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("Content-Type: image/jpeg", "Transfer-Encoding: chunked") + made + end


class RawServer:
    """Answers by path (/ok/N is image N, else 404) and keeps each connection open, until a piece is None."""

    def __init__(self, answers: Mapping[str, Sequence[Piece]]) -> None:
        self.answers = dict(answers)
        self.paths: list[str] = []
        self.num_connections = self.num_sent = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.num_connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = b""
            while data := connection.recv(65_536):
                request += data
                if request.endswith(b"\r\n\r\n"):
                    path = request.split(b" ", 2)[1].decode()
                    request = b""
                    self.paths.append(path)
                    for piece in self._pieces(path):
                        if piece is None:
                            return
                        if isinstance(piece, bytes):
                            connection.sendall(piece)
                            self.num_sent += len(piece)
                        else:
                            time.sleep(piece)

    def _pieces(self, path: str) -> Sequence[Piece]:
        if path in self.answers:
            return self.answers[path]
        kind, _, number = path.lstrip("/").partition("/")
        return [ok(int(number)) if kind == "ok" else answer(b"no", status="404 Not Found")]


@contextlib.contextmanager
def raw_serving(answers: Mapping[str, Sequence[Piece]]) -> Iterator[RawServer]:
    """A running server."""
    server = RawServer(answers)
    try:
        yield server
    finally:
        server.listener.close()
