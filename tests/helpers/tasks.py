"""Functions for executors to run, each with its way to go wrong."""

from __future__ import annotations

import errno
import functools
import os
import signal
import threading
import time
import uuid
from pathlib import Path

from openwit.errors import InputError


def _count(path: Path) -> int:
    with path.open("a") as file:
        file.write("x")
    return len(path.read_text())


def square(number: int) -> int:
    """The number's square."""
    return number * number


def fail(path: Path) -> int:
    """Notes the try in `path`, then raises."""
    _count(path)
    raise KeyError("two lines")


def refuse(path: Path) -> int:
    """Notes the try, then raises what trying again cannot help."""
    _count(path)
    if path.name == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.tar")
    raise InputError("x.wat:\nno such file")


def die_or_live(path: Path) -> int:
    """The number of tries; a path named die kills its worker."""
    tries = _count(path)
    if path.name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return tries


@functools.cache
def _state() -> str:
    return uuid.uuid4().hex


def cached_state(_: int) -> str:
    """The worker's own state."""
    return _state()


def unsendable(_: int) -> object:
    """Something that cannot be pickled."""
    return threading.Lock()


def wait_for(path: Path) -> str:
    """The path's name, once it exists."""
    while not path.exists():
        time.sleep(0.01)
    return path.name


def interrupt_group(_: str) -> str:
    """Ctrl-C, as a terminal sends it: to every process of the group."""
    os.killpg(os.getpgid(0), signal.SIGINT)
    time.sleep(0.1)
    return "done"
