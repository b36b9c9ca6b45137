"""Files by fsspec URL: local paths, s3:// and others, read plainly and published whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from openwit.errors import InputError

SCRATCH = ".scratch"
HASHED_BYTES = 256 << 20


def is_local(url: str) -> bool:
    """Whether the URL names a file of this machine."""
    return "://" not in url or url.startswith("file://")


def join(folder: str, *names: str) -> str:
    """The URL of `names` below `folder`."""
    return posixpath.join(folder, *names)


def exists(url: str) -> bool:
    """Whether a file or folder stands at the URL."""
    fs, path = url_to_fs(url)
    return bool(fs.exists(path))


def open_input(url: str) -> IO[bytes]:
    """The file opened for reading bytes. Raises InputError, naming it, where it is missing or unreadable."""
    try:
        return cast(IO[bytes], fsspec.open(url, "rb").open())
    except FileNotFoundError:
        raise InputError(f"{url}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{url}: cannot be read ({error})") from None


def read_bytes(url: str) -> bytes:
    """The whole file. Raises InputError where it is missing or unreadable."""
    with open_input(url) as file:
        return file.read()


def read_json(url: str) -> Any:
    """The parsed JSON file. Raises InputError where it is missing, unreadable or no JSON."""
    try:
        return json.loads(read_bytes(url))
    except ValueError as error:
        raise InputError(f"{url}: is not JSON ({error})") from None


def list_sizes(folder: str) -> dict[str, int]:
    """The names of the files directly in `folder`, sorted, with their sizes in bytes; empty where there is none."""
    fs, path = url_to_fs(folder)
    if not fs.isdir(path):
        return {}
    fs.invalidate_cache()
    entries = (entry for entry in fs.ls(path, detail=True) if entry["type"] == "file")
    return dict(sorted((posixpath.basename(entry["name"]), int(entry["size"])) for entry in entries))


def delete(url: str) -> None:
    """The file is gone afterwards, whether it was there or not."""
    fs, path = url_to_fs(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def identity(url: str) -> str:
    """A text that changes when an outside file's content does: sha256 of a local file up to 256 MB, else size
    with ETag or modification time. Raises InputError where the file is missing.
    """
    fs, path = url_to_fs(url)
    try:
        info = fs.info(path)
    except FileNotFoundError:
        raise InputError(f"{url}: no such file") from None
    if is_local(url) and info["size"] <= HASHED_BYTES:
        return sha256(Path(path))
    mark = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return f"{info.get('size')}:{mark}"


def sha256(path: Path) -> str:
    """The hex digest of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def scratch_folder(folder: str) -> Iterator[Path]:
    """A new local folder for files on their way to `folder`: on its own disk where that is local, so that
    publishing is a rename; removed afterwards with whatever was left in it."""
    parent = None
    if is_local(folder):
        parent = Path(local_path(folder)) / SCRATCH
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="openwit-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def clear_scratch(folder: str) -> None:
    """Removes what a killed run left on its way to `folder`. Only one run at a time may use a work folder."""
    if is_local(folder):
        shutil.rmtree(Path(local_path(folder)) / SCRATCH, ignore_errors=True)


def local_path(url: str) -> str:
    """The path of a local URL."""
    return str(url_to_fs(url)[1])


def publish(source: Path, url: str) -> None:
    """Moves a finished local file to the URL: fsync and rename, or one upload. Readers never see a part of it."""
    fs, path = url_to_fs(url)
    if not isinstance(fs, LocalFileSystem):
        fs.put_file(str(source), path)
        source.unlink()
        return
    with source.open("rb") as file:
        os.fsync(file.fileno())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    source.replace(path)
    _sync_folder(Path(path).parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(url: str, data: bytes) -> None:
    """The file holds exactly `data` afterwards; a reader sees the old content or the new, never a part."""
    folder = posixpath.dirname(url) or "."
    with scratch_folder(folder) as scratch:
        part = scratch / "part"
        part.write_bytes(data)
        publish(part, url)


def write_json(url: str, value: object) -> None:
    """The file holds `value` as indented JSON with sorted keys afterwards."""
    write_bytes(url, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
