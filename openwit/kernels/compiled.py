"""Functions that numba compiles, and where what it compiled is kept.

Numba's own cache looks at a kernel's file alone: when a callee or a constant of another file changes, it goes on with
the old machine code. So a kernel is kept in a folder named by a digest of its file and of all files of the project
that this one imports, and theirs.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numba
from numba.core import config as numba_config

from openwit.errors import WorkError
from openwit.machine import own_folder

F = TypeVar("F", bound=Callable[..., Any])
_NUMBA: Any = numba_config  # its variables are made from the environment, so that types know none
UNSURE = -1  # a kernel's answer where only its plain twin can tell
KEPT_VERSIONS = 8  # of a file's kernels; each is some hundred KB


def compiled(function: F) -> F:
    """The function as machine code that runs without Python's lock; compiled when first called, or read from the
    cache."""
    return _jit(function, inline="never")


def inlined(function: F) -> F:
    """The same for a small function that becomes part of each kernel that calls it."""
    return _jit(function, inline="always")


def _jit(function: F, inline: Literal["never", "always"]) -> F:
    file = Path(function.__code__.co_filename)
    folder = cache_folder(file, file.parents[function.__module__.count(".")])
    before, _NUMBA.CACHE_DIR = _NUMBA.CACHE_DIR, str(folder or "")  # read once, as the kernel is declared
    try:
        return cast(F, numba.njit(cache=folder is not None, nogil=True, inline=inline)(function))
    finally:
        _NUMBA.CACHE_DIR = before


@functools.cache
def cache_folder(file: Path, root: Path) -> Path | None:
    """The folder for the kernels of a file of the project at `root`, which exists and can be written; None where there
    is no such place, and every process compiles for itself."""
    name = file.relative_to(root).with_suffix("").as_posix().replace("/", ".")
    for place in _places(root):
        folder = place / name / source_digest(file, root)
        try:
            new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue  # read-only, or no folder at all
        if new:
            _delete_old(folder)
        return folder
    return None


def _places(root: Path) -> Iterator[Path]:
    """Where kernels may be kept, the best place first: as NUMBA_CACHE_DIR says, beside the sources, in the user's
    cache, in a temporary folder of nobody else's (what lies there is run)."""
    checkout = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
    if _NUMBA.CACHE_DIR:
        yield Path(_NUMBA.CACHE_DIR) / checkout
    yield root / "__pycache__" / "kernels"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield Path(caches) / "openwit" / "kernels" / checkout
    with contextlib.suppress(OSError, WorkError):
        yield own_folder() / "kernels" / checkout


def _delete_old(folder: Path) -> None:
    """Deletes the kernels of all but the latest versions of a file. A process that still runs one of those compiles
    what it misses anew."""
    versions = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in versions[KEPT_VERSIONS:]:
        shutil.rmtree(old, ignore_errors=True)


@functools.cache
def source_digest(file: Path, root: Path) -> str:
    """16 hex digits that differ where the file differs, or any file of the project that it depends on."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(sources_of(file, root)):
        found.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def sources_of(file: Path, root: Path) -> set[Path]:
    """The file, the files of the project that it imports, and those that they import."""
    found: set[Path] = set()
    todo = [file]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imported(path, root)
    return found


@functools.cache
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    """The files of the project that one of them imports, in absolute terms as all of this project do."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    paths = [root / name.replace(".", "/") for name in dict.fromkeys(names)]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return tuple(file for file in files if file.is_file())
