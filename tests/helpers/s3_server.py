"""A real S3 server on loopback: SeaweedFS, one a test session, with one bucket a test."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from helpers.ports import keep_port
from helpers.processes import wait_until

KEY, SECRET = "AKTEST", "SKTEST123"


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str  # http://127.0.0.1:PORT

    def use(self, monkeypatch: pytest.MonkeyPatch, endpoint: str = "") -> None:
        """Sets the standard environment to this server, or to a proxy before it, for this process and its children."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint or self.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()

    def new_bucket(self) -> str:
        """s3://NAME of a new bucket."""
        options = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        name = f"test-{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3", key=KEY, secret=SECRET, client_kwargs=options).mkdir(name)
        return f"s3://{name}"


@functools.cache
def running() -> S3Server:
    """The session's server; it starts when it is first asked for, and ends with the session."""
    folder = tempfile.TemporaryDirectory(prefix="openwit-s3-")
    root = Path(folder.name)
    who = {"name": "admin", "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    (root / "s3.json").write_text(json.dumps({"identities": [{**who, "actions": actions}]}))
    s3, master, volume, filer = (keep_port(beside=10_000) for _ in range(4))  # each server listens at both
    weed = Path(sys.executable).with_name("weed")
    command = [
        str(weed), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={root}", "-master.volumeSizeLimitMB=64",
        "-volume.max=1000", "-filer", "-s3", f"-s3.port={s3}", f"-s3.config={root / 's3.json'}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=root,
            env={**os.environ, "HOME": str(root)},
            preexec_fn=_die_with_parent,
        )

    def stop() -> None:
        process.kill()
        process.wait()
        folder.cleanup()

    atexit.register(stop)
    server = S3Server(f"http://127.0.0.1:{s3}")
    _wait(server, process, root / "log")
    return server


def _die_with_parent() -> None:
    """A session that is killed takes the server with it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it takes a bucket."""
    host, _, port = server.endpoint.removeprefix("http://").partition(":")

    def takes_a_bucket() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError):  # it listens, and a little later it can store
            socket.create_connection((host, int(port)), timeout=5).close()
            return bool(server.new_bucket())
        return False

    wait_until(takes_a_bucket)
