"""Where checkpoints lie, how one appears and goes; light to import (no torch): "is it done?" is answered at once.

On a disk a checkpoint's files are written in a folder of another name, which is renamed when they are whole. On an
object store they are written in place, and state.json, written last, makes them a checkpoint.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from openwit import storage
from openwit.errors import WorkError

NAME = re.compile(r"step-(\d{8})")
STATE = "state.json"


def folder_of(folder: str, step: int) -> str:
    """The checkpoint of a step."""
    return storage.join(folder, f"step-{step:08d}")


def steps(folder: str) -> list[int]:
    """The steps that have a checkpoint in `folder`, rising; each is whole."""
    if storage.is_local(folder):
        path = Path(storage.local_path(folder))
        names = os.listdir(path) if path.is_dir() else []
    else:
        files = storage.list_tree(folder)
        names = [posixpath.dirname(file) for file in files if posixpath.basename(file) == STATE]
    return sorted(int(match[1]) for name in names if (match := NAME.fullmatch(name)))


def latest(folder: str) -> str | None:
    """The newest checkpoint in `folder`, None where there is none."""
    found = steps(folder)
    return folder_of(folder, found[-1]) if found else None


def begin(folder: str, step: int) -> None:
    """Files of the step's checkpoint can be written to `unfinished` afterwards."""
    if storage.is_local(folder):
        with storage.writing(folder):
            Path(unfinished(folder, step)).mkdir(parents=True)


def unfinished(folder: str, step: int) -> str:
    """Where the files of the step's checkpoint are written, by whichever process."""
    if storage.is_local(folder):
        return folder_of(storage.join(storage.local_path(folder), storage.SCRATCH), step)
    return folder_of(folder, step)


def commit(folder: str, step: int, files: Iterable[str], texts: dict[str, bytes]) -> None:
    """The files in `unfinished` and the `texts` are the step's checkpoint afterwards, whole. Raises WorkError where a
    file is missing."""
    made, target = unfinished(folder, step), folder_of(folder, step)
    if missing := sorted(set(files) - storage.list_sizes(made).keys()):
        raise WorkError(
            f"{target}: {missing[0]}, which another rank wrote, is not there; give a --work on a disk that all nodes "
            "share, or on an object store"
        )
    for name in sorted(texts, key=lambda name: name == STATE):
        _put(storage.join(made, name), texts[name])
    if storage.is_local(folder):
        storage.publish_folder(Path(made), target)


def _put(url: str, text: bytes) -> None:
    if not storage.is_local(url):
        storage.write_bytes(url, text)
        return
    with storage.writing(url):
        Path(url).write_bytes(text)
        storage.sync(Path(url))


def discard(folder: str, step: int) -> None:
    """Removes what there is of a checkpoint that did not become one."""
    if step not in steps(folder):
        storage.delete_tree(unfinished(folder, step))


def keep_newest(folder: str, number: int) -> None:
    """Removes all checkpoints but the `number` newest."""
    for step in steps(folder)[:-number]:
        doomed = folder_of(folder, step)
        with storage.writing(doomed):  # it must stop being a checkpoint before it loses a file
            if storage.is_local(folder):
                Path(storage.local_path(doomed)).rename(unfinished(folder, step))
                doomed = unfinished(folder, step)
            else:
                storage.delete(storage.join(doomed, STATE))
        storage.delete_tree(doomed)


def clear_unfinished(folder: str) -> None:
    """Removes what a killed run was writing. Only one run at a time may use the folder."""
    if storage.is_local(folder):
        storage.clear_scratch(folder)
        return
    whole = {posixpath.basename(folder_of(folder, step)) for step in steps(folder)}
    begun = {file.split("/")[0] for file in storage.list_tree(folder)}
    for name in begun - whole:
        if NAME.fullmatch(name):
            storage.delete_tree(storage.join(folder, name))
