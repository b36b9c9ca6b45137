"""Serves a built web on loopback, by Host header and path, with its faults.

It runs in a process of its own (`running`), so that it does not slow the program that crawls it, and leaves with the
program that started it, however that one ends.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from openwit.errors import ConfigError, InputError, WorkError

HEALTH_PATH = "/.openwit"
_START_TIMEOUT_S = 30.0
_LEAVE_TIMEOUT_S = 1.0
_DRIBBLE_S = 0.2
_CONTENT_TYPES = {
    ".css": "text/css",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".txt": "text/plain",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class EmbeddedSite:
    """What a built web answers: files and faults by "host/path"."""

    files: dict[str, Path]
    faults: dict[str, str]
    content_types: dict[str, str]
    slow_s: float
    digest: str

    @staticmethod
    def load(folder: str) -> EmbeddedSite:
        """The site of a folder that `build_web` wrote. Raises InputError where there is none."""
        root = Path(folder)
        try:
            digest = web_digest(folder)
            routes = json.loads((root / "routes.json").read_bytes())
        except (OSError, ValueError):
            raise InputError(f"{folder}: holds no demo web; build it first") from None
        site = root / "site"
        files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
        return EmbeddedSite(files, routes["faults"], routes["content_types"], routes["slow_s"], digest)


def web_digest(folder: str) -> str:
    """Hex digits that name the content of the built web in `folder`."""
    return hashlib.sha256((Path(folder) / "web.json").read_bytes()).hexdigest()


@dataclass(frozen=True)
class Health:
    """Which content a server has, and the process that it leaves with; 0: it lasts until interrupted."""

    digest: str
    owner: int


class WebServer(ThreadingHTTPServer):
    """A thread a connection, on 127.0.0.1."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, site: EmbeddedSite, port: int, parent: int) -> None:
        self.site = site
        self.parent = parent
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A crawler that hangs up is no error of the server's."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "openwit-demo"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 60.0
    server: WebServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what came of a request is the crawler's to report."""

    def _answer(self, with_body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        if path == HEALTH_PATH:
            self._send_health(with_body)
            return
        host = self.headers.get("Host", "").partition(":")[0].lower()
        name = f"{host}{path}" + ("index.html" if path.endswith("/") else "")
        site = self.server.site
        fault = site.faults.get(name)
        if fault == "error":
            self._send(500, "text/plain", b"internal error\n", with_body)
        elif name not in site.files:
            self._send(404, "text/plain", b"not found\n", with_body)
        else:
            self._send_file(name, fault, with_body)

    def _send_health(self, with_body: bool) -> None:
        parent = self.server.parent
        if parent and os.getppid() != parent:
            os._exit(0)  # nobody may rely on a server whose owner is gone
        health = {"digest": self.server.site.digest, "owner": parent}
        self._send(200, "application/json", json.dumps(health).encode(), with_body)

    def _send_file(self, name: str, fault: str | None, with_body: bool) -> None:
        site = self.server.site
        kind = site.content_types.get(name) or _CONTENT_TYPES[site.files[name].suffix]
        body = site.files[name].read_bytes()
        if fault in ("slow", "cut") and with_body:
            self._send_badly(kind, body, fault)
        else:
            self._send(200, kind, body, with_body, robots_tag="noai" if fault == "noai" else "")

    def _send(self, status: int, kind: str, body: bytes, with_body: bool, robots_tag: str = "") -> None:
        self._send_head(status, kind, len(body), robots_tag)
        if with_body:
            self.wfile.write(body)

    def _send_head(self, status: int, kind: str, length: int, robots_tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if robots_tag:
            self.send_header("X-Robots-Tag", robots_tag)
        self.end_headers()

    def _send_badly(self, kind: str, body: bytes, fault: str) -> None:
        """All of it, but a little at a time for slow_s; or half of it, and goodbye."""
        self.close_connection = True
        self._send_head(200, kind, len(body))
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            return
        num_parts = max(1, round(self.server.site.slow_s / _DRIBBLE_S))
        for part in range(num_parts):
            self.wfile.write(body[len(body) * part // num_parts : len(body) * (part + 1) // num_parts])
            time.sleep(_DRIBBLE_S)


def serve(folder: str, port: int, parent: int = 0) -> None:
    """Serves the web in `folder` until interrupted, or until the process `parent` is no longer the parent.

    Raises ConfigError where the port is taken, InputError where the folder holds no web.
    """
    site = EmbeddedSite.load(folder)
    try:
        server = WebServer(site, port, parent)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(
                f"web.port={port}: cannot be opened ({error.strerror}); give another with --web.port N"
            ) from None
        raise _busy(port) from None
    if parent:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


def _busy(port: int, program: str = "another program") -> ConfigError:
    return ConfigError(f"web.port={port}: already in use by {program}; give a free one with --web.port N")


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


@contextlib.contextmanager
def running(folder: str, port: int) -> Iterator[None]:
    """The web in `folder` answers on 127.0.0.1:`port` meanwhile, from a process of its own.

    A lasting server of the same content that answers there already (`serve`) is used, and left running. Raises
    ConfigError where another program has the port, or another run, whose server would leave with it.
    """
    digest = EmbeddedSite.load(folder).digest
    health = _ask(port)
    if health == Health(digest, 0):
        yield
        return
    if not _becomes_free(port):
        raise _busy(port, f"another openwit run, process {health.owner}") if health and health.owner else _busy(port)
    process = _start(folder, port)
    try:
        _wait_until_up(process, port, digest)
        yield
    finally:
        process.terminate()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _start(folder: str, port: int) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.demo_web.server", folder, str(port), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for the program that crawls; the server is stopped after it
    )


def _wait_until_up(process: subprocess.Popen[str], port: int, digest: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            text = process.stderr.read().strip() if process.stderr else ""
            raise (ConfigError if process.returncode == 2 else WorkError)(text or "the demo web's server died")
        if _ask(port) == Health(digest, os.getpid()):
            return
        time.sleep(0.05)
    raise WorkError(f"web.port={port}: the demo web's server did not answer within {_START_TIMEOUT_S:.0f} s")


def _ask(port: int) -> Health | None:
    """What the demo web that answers on the port says of itself; None where none does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", HEALTH_PATH)
        answer = json.loads(connection.getresponse().read(4096))
        return Health(str(answer["digest"]), int(answer["owner"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _becomes_free(port: int) -> bool:
    """Whether nothing listens on the port, soon: the server of a killed run may be just about to leave."""
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    parser.add_argument("parent", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    try:
        serve(arguments.folder, arguments.port, arguments.parent)
    except (ConfigError, InputError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
