"""Files and folders that appear under their name whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from openwit.errors import InputError, WorkError


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to; when the block ends well it gets the target's name.

    Raises InputError where the target exists, WorkError where it cannot be written."""
    with _scratch(target) as scratch:
        yield scratch / target.name
        _move(scratch / target.name, target)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it gets the target's name.

    Raises InputError where the target exists, WorkError where it cannot be written."""
    with _scratch(target) as scratch:
        made = scratch / target.name
        made.mkdir()
        yield made
        for path in made.iterdir():
            _sync(path)
        _move(made, target)


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    if target.exists():
        raise InputError(f"{target}: exists already; delete it, or give another target")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise WorkError(f"{target}: cannot be written ({error.strerror}); give a target that can") from error
    try:
        yield Path(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkError(
            f"{target}: cannot be written ({reason}); free some space, or give a target that can"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(made: Path, target: Path) -> None:
    _sync(made)
    made.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """The file's content, or the folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
