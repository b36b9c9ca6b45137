"""Files that this user's processes share on this machine: a folder of their own, and what is fetched into it once."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from pathlib import Path, PurePosixPath

from openwit.errors import WorkError


def own_folder() -> Path:
    """A temporary folder that nobody else can write to or read, made where there is none. Raises WorkError where
    another user's stands in its place."""
    folder = Path(tempfile.gettempdir()) / f"openwit-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise WorkError(f"{folder}: others can write to it; remove it, or set TMPDIR to another folder")
    return folder


def fetched_once(url: str, identity: str) -> Path:
    """A local path of the file, whose content `identity` names: itself, or a copy of a remote one that is made once for
    all of this user's processes. Raises InputError where it is missing or unreadable."""
    from openwit import storage

    if storage.is_local(url):
        return Path(storage.local_path(url))
    folder = own_folder()
    path = folder / f"{identity}{PurePosixPath(url).suffix}"
    with (folder / f"{identity}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait here, then find it
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(storage.read_bytes(url))
            part.rename(path)
    return path
