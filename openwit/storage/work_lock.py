"""One command at a time in a work folder: on a disk a lock of the operating system, on an object store a small object.

The object is created only where there is none (S3: If-None-Match) and renewed every few seconds. What a killed command
left behind is recognised: by its process, on the machine where it ran, elsewhere by the time of its last renewal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from openwit import storage
from openwit.errors import ConfigError, OpenwitError, WorkError

LOCK = ".lock"
RENEW_S = 15.0
STALE_S = 120.0  # without renewal; also how far two machines' clocks may be apart, and half a minute less
_SETTLE_S = 1.0
_JOIN_S = 20.0  # a store that does not answer must not keep Ctrl-C waiting


@contextlib.contextmanager
def holding(work: str, shared: bool = False) -> Iterator[None]:
    """The work folder is ours meanwhile; `shared` with those who share it too, as the nodes of one training. (On an
    object store these hold nothing: its lock has one holder, and the first rank holds one of the training's own.)
    Raises ConfigError where another command runs in it, and WorkError where another one took it over meanwhile, as this
    one gave no sign of life."""
    if storage.is_local(work):
        with _locked_file(work, shared):
            yield
    elif shared:
        yield
    else:
        with _lease(work):
            yield


@contextlib.contextmanager
def _locked_file(work: str, shared: bool) -> Iterator[None]:
    folder = Path(storage.local_path(work))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"--work {work}: another openwit command is running there; wait or stop it") from None
        yield


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What the lock's object says of the command that holds it."""

    id: str
    host: str
    machine: str  # the host's start and its space of process numbers, in which `pid` means something
    pid: int
    renewed: float  # seconds since 1970

    @classmethod
    def of_this_process(cls) -> Holder:
        """This process, now."""
        known = uuid.uuid4().hex
        return cls(id=known, host=socket.gethostname(), machine=_machine(), pid=os.getpid(), renewed=time.time())

    def is_gone(self) -> bool:
        """Whether it cannot be at work any more."""
        if time.time() - self.renewed > STALE_S:
            return True
        return bool(self.machine) and self.machine == _machine() and not _lives(self.pid)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # killed, and nobody has asked how it ended


def _machine() -> str:
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@contextlib.contextmanager
def _lease(work: str) -> Iterator[None]:
    with _interrupted_by() as number:
        lease = Lease(work, number)
        lease.take()
        renewing = threading.Thread(target=lease.renew, name="lock", daemon=True)
        renewing.start()
        try:
            yield
        except KeyboardInterrupt:
            if lease.lost_to:
                raise WorkError(f"--work {work}: was taken over by {lease.lost_to}; this command has stopped") from None
            raise
        finally:
            lease.ended.set()
            renewing.join(_JOIN_S)
            lease.give_back()


@contextlib.contextmanager
def _interrupted_by() -> Iterator[signal.Signals]:
    """A signal that interrupts the main thread meanwhile, as Ctrl-C does. Ctrl-C's own is ignored in the background of
    a script; only the main thread may set another."""
    if threading.current_thread() is not threading.main_thread():
        yield signal.SIGINT
        return
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        yield signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)


class Lease:
    """The lock of a work folder on an object store."""

    def __init__(self, work: str, interrupt: signal.Signals) -> None:
        """The signal is sent to this process where another command takes the lock."""
        self.work, self.url, self.interrupt = work, storage.join(work, LOCK), interrupt
        self.me = Holder.of_this_process()
        self.ended = threading.Event()
        self.lost_to = ""

    def take(self) -> None:
        """The lock is ours. Raises ConfigError where a command holds it that may be alive."""
        for attempt in range(3):
            if storage.create(self.url, self._text()) and attempt:
                time.sleep(_SETTLE_S)  # another command may have found the same dead lock, and removed ours
            holder = self._holder()
            if holder is None:
                continue  # it has just been given back
            if holder.id == self.me.id:
                return
            if not holder.is_gone():
                raise self._taken(holder)
            storage.delete(self.url)
        raise ConfigError(f"--work {self.work}: other openwit commands are starting there; wait or stop them")

    def renew(self) -> None:
        """Gives signs of life until `ended`. A lock that another command took interrupts the work."""
        last = time.monotonic()
        while not self.ended.wait(RENEW_S):
            try:
                holder = self._holder()
                if holder is None or holder.id != self.me.id:
                    self._lose(f"pid {holder.pid} on {holder.host}" if holder else "somebody who removed the lock")
                    return
                storage.write_bytes(self.url, self._text())
                last = time.monotonic()
            except (OSError, OpenwitError) as error:  # the store falters; the next time may do
                if time.monotonic() - last > STALE_S - 2 * RENEW_S:
                    self._lose(f"nobody yet, but could not be renewed ({error})")
                    return

    def give_back(self) -> None:
        """Removes the lock if it is ours still."""
        with contextlib.suppress(OSError, OpenwitError):  # it is stale soon
            holder = self._holder()
            if holder is not None and holder.id == self.me.id:
                storage.delete(self.url)

    def _lose(self, whom: str) -> None:
        self.lost_to = whom
        os.kill(os.getpid(), self.interrupt)

    def _text(self) -> bytes:
        return msgspec.json.encode({**msgspec.to_builtins(self.me), "renewed": time.time()})

    def _holder(self) -> Holder | None:
        if not storage.exists(self.url):
            return None
        try:
            return msgspec.json.decode(storage.read_bytes(self.url), type=Holder)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
            raise ConfigError(f"{self.url}: is no lock of openwit; delete it if no command runs there") from None

    def _taken(self, holder: Holder) -> ConfigError:
        seconds = max(0, round(time.time() - holder.renewed))
        who = f"pid {holder.pid} on {holder.host}, last sign of life {seconds} s ago"
        return ConfigError(
            f"--work {self.work}: another openwit command ({who}) is running there; wait or stop it; "
            f"if it is dead, it is passed over {STALE_S:.0f} s after its last sign of life, or delete {self.url}"
        )
