"""Where a work folder's events are written: log.jsonl, on an object store by way of a local copy."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from openwit import storage
from openwit.errors import OpenwitError

LOG = "log.jsonl"
UPLOAD_S = 30.0  # between two uploads of what is new: what a kill may cost
_JOIN_S = 20.0  # a store that does not answer must not keep Ctrl-C waiting


@contextlib.contextmanager
def log_file(work: str) -> Iterator[Path]:
    """The local file to append events to. Of a remote work folder it begins with the events that are there, and is
    uploaded now and then and at the end; only one command at a time may do that."""
    if storage.is_local(work):
        yield Path(storage.local_path(work)) / LOG
        return
    url = storage.join(work, LOG)
    with tempfile.TemporaryDirectory(prefix="openwit-log-") as folder:
        copy = _Copy(url, Path(folder) / LOG)
        uploading = threading.Thread(target=copy.upload_now_and_then, name="log", daemon=True)
        uploading.start()
        unheard: tuple[type[Exception], ...] = (OSError, OpenwitError)  # what went wrong before is the user's to hear
        try:
            yield copy.path
            unheard = ()
        finally:
            copy.end(uploading)
            with contextlib.suppress(*unheard):
                copy.upload()


class _Copy:
    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        before = storage.read_bytes(url) if storage.exists(url) else b""
        path.write_bytes(before)
        self._uploaded, self._ended = len(before), threading.Event()

    def upload(self) -> None:
        """Uploads the whole file if there is anything new in it."""
        data = self.path.read_bytes()
        if len(data) > self._uploaded:
            storage.write_bytes(self.url, data)
            self._uploaded = len(data)

    def upload_now_and_then(self) -> None:
        while not self._ended.wait(UPLOAD_S):
            with contextlib.suppress(OSError, OpenwitError):  # the store falters; the next time, or the last, may do
                self.upload()

    def end(self, uploading: threading.Thread) -> None:
        self._ended.set()
        uploading.join(_JOIN_S)
