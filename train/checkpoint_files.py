"""Where checkpoints lie; light to import (no torch), so that "is it done?" is answered at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

from openwit import storage

NAME = re.compile(r"step-(\d{8})")


def folder_of(folder: str, step: int) -> str:
    """The checkpoint of a step."""
    return storage.join(folder, f"step-{step:08d}")


def steps(folder: str) -> list[int]:
    """The steps that have a checkpoint in `folder`, rising. Every folder of that name is whole: it got it last."""
    path = Path(storage.local_path(folder))
    names = os.listdir(path) if path.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := NAME.fullmatch(name)))


def latest(folder: str) -> str | None:
    """The newest checkpoint in `folder`, None where there is none."""
    found = steps(folder)
    return folder_of(folder, found[-1]) if found else None
