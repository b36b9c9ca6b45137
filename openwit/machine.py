"""A folder of this machine that all processes of a user share, and nobody else."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

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
