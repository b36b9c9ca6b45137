"""Ports of 127.0.0.1 for programs that must be told theirs, kept from all other tests until this process ends.

Where a server can take port 0, let it: these are for what cannot (several processes that must know it beforehand).
They lie below the range from which the system takes ports for connections, so nobody gets one by chance; a locked file
each keeps the processes of all test runs on this machine apart.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import TextIO

FIRST, LAST = 10_500, 21_500  # and `beside` more
_kept: list[TextIO] = []  # open as long as this process lives


def keep_port(beside: int = 0) -> int:
    """A port on which nobody listens, and no other test will; with `beside`, the port that much higher is kept too."""
    folder = Path(tempfile.gettempdir(), f"openwit-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    start = FIRST + os.getpid() % (LAST - FIRST)  # apart from the others at once, mostly
    for port in (*range(start, LAST), *range(FIRST, start)):
        if _keep(folder, port) and (not beside or _keep(folder, port + beside)):
            return port  # type: ignore[no-any-return]
    raise AssertionError(f"no port is free between {FIRST} and {LAST}")


def _keep(folder: Path, port: int) -> bool:
    file = (folder / str(port)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that ended just now is no server
            probe.bind(("127.0.0.1", port))
    except OSError:
        file.close()
        return False
    _kept.append(file)
    return True
