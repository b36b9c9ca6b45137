"""Files by fsspec URL: local paths, s3:// and others, read plainly and published whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.core import url_to_fs

from openwit.errors import InputError, OpenwitError, WorkError, one_line
from openwit.machine import own_folder

SCRATCH = ".scratch"
S3_ENDPOINT = "AWS_ENDPOINT_URL_S3"  # the environment's name for where s3:// is answered; workers inherit it
HASHED_BYTES = 256 << 20
SYNCED_AT_ONCE = 32  # files of a folder


def is_local(url: str) -> bool:
    """Whether the URL names a file of this machine."""
    return "://" not in url or url.startswith(("file://", "local://"))


def join(folder: str, *names: str) -> str:
    """The URL of `names` below `folder`."""
    return posixpath.join(folder, *names)


def absolute(url: str) -> str:
    """The URL with a relative local path made absolute: workers may stand in another folder."""
    return local_path(url) if is_local(url) else url


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Whatever goes wrong becomes an InputError that names the URL; object stores have many kinds of errors."""
    try:
        yield
    except OpenwitError:
        raise
    except FileNotFoundError:
        maybe = ", or its host does not answer" if url.startswith("http") else ""
        raise InputError(f"{url}: no such file{maybe}") from None
    except Exception as error:
        text = getattr(error, "strerror", None) or error
        raise InputError(f"{url}: cannot be read ({type(error).__name__}: {text})") from error


def _filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system and the path on it. What it remembers of listings is forgotten: other processes write too."""
    try:
        fs, path = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(f"{url}: cannot be opened ({error})") from None
    fs.invalidate_cache()
    return fs, path


def exists(url: str) -> bool:
    """Whether a file or folder stands at the URL."""
    with reading(url):
        fs, path = _filesystem(url)
        return bool(fs.exists(path))


def open_input(url: str, block_bytes: int | None = None) -> IO[bytes]:
    """The file opened for reading bytes; of a remote one `block_bytes` are fetched at once, by default what its file
    system likes. Raises InputError, naming it, where it is missing or unreadable."""
    with reading(url):
        fs, path = _filesystem(url)
        return cast(IO[bytes], fs.open(path, "rb", block_size=block_bytes))


def read_bytes(url: str) -> bytes:
    """The whole file. Raises InputError where it is missing or unreadable."""
    with open_input(url) as file, reading(url):
        return file.read()


def read_json(url: str) -> Any:
    """The parsed JSON file. Raises InputError where it is missing, unreadable or no JSON."""
    data = read_bytes(url)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{url}: is not JSON ({error})") from None


def list_sizes(folder: str) -> dict[str, int]:
    """The names of the files directly in `folder`, sorted, with their sizes in bytes; empty where there is none."""
    with reading(folder):
        fs, path = _filesystem(folder)
        if not fs.isdir(path):
            return {}
        entries = (entry for entry in fs.ls(path, detail=True) if entry["type"] == "file")
        return dict(sorted((posixpath.basename(entry["name"]), int(entry["size"])) for entry in entries))


def list_tree(folder: str) -> dict[str, str]:
    """The paths of all files below `folder`, sorted, each with a mark that changes when its content does: size with
    ETag or modification time; empty where there is no such folder."""
    with reading(folder):
        fs, path = _filesystem(folder)
        found = fs.find(path, detail=True) if fs.isdir(path) else {}
        return dict(sorted((posixpath.relpath(name, path), _mark(info)) for name, info in found.items()))


def delete(url: str) -> None:
    """The file is gone afterwards, whether it was there or not."""
    fs, path = _filesystem(url)
    with contextlib.suppress(FileNotFoundError), writing(url):
        fs.rm_file(path)


def delete_tree(folder: str) -> None:
    """The folder is gone afterwards with all in it, whether it was there or not."""
    fs, path = _filesystem(folder)
    with contextlib.suppress(FileNotFoundError), writing(folder):
        fs.rm(path, recursive=True)


def identity(url: str) -> str:
    """A text that changes when an outside file's content does: sha256 of a local file up to 256 MB, else size
    with ETag or modification time. Raises InputError where the file is missing or a folder.
    """
    with reading(url):
        fs, path = _filesystem(url)
        info = fs.info(path)
        if info["type"] == "directory":
            raise InputError(f"{url}: is a folder, a file is expected")
        if is_local(url) and info["size"] <= HASHED_BYTES:
            return sha256(Path(path))
    return _mark(info)


def _mark(info: dict[str, Any]) -> str:
    marks = (info.get(name) for name in ("ETag", "mtime", "LastModified", "created"))
    return f"{info['size']}:{next((mark for mark in marks if mark), '')}"


def sha256(path: Path) -> str:
    """The hex digest of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def writing(url: str) -> Iterator[None]:
    """A disk that is full or may not be written to becomes a WorkError that names the URL; nothing else helps
    there than the user, so it is not tried again."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkError(f"{url}: no space left on the disk; free some and run the same command again") from error
        barred = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
        if error.errno in barred or isinstance(error, PermissionError):  # an object store's has no number
            text = error.strerror or error
            raise WorkError(f"{url}: cannot be written ({text}); give a folder that can") from error
        raise


@contextlib.contextmanager
def local_copy(url: str) -> Iterator[Path]:
    """A path of this machine that holds the file or folder: itself, or a copy of a remote one, which goes afterwards.
    Raises InputError where a remote one is missing or unreadable."""
    if is_local(url):
        yield Path(local_path(url))
        return
    with tempfile.TemporaryDirectory(prefix="openwit-", ignore_cleanup_errors=True) as name:
        copy = Path(name) / posixpath.basename(url.rstrip("/"))
        with reading(url):
            fs, path = _filesystem(url)
            fs.get(path, str(copy), recursive=True)
        yield copy


def fetched_once(url: str, identity: str) -> Path:
    """A local path of the file, whose content `identity` names: itself, or a copy of a remote one that is made once for
    all of this user's processes here. Raises InputError where it is missing or unreadable."""
    if is_local(url):
        return Path(local_path(url))
    folder = own_folder()
    path = folder / f"{identity}{posixpath.splitext(url)[1]}"
    with (folder / f"{identity}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait here, then find it
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(read_bytes(url))
            part.rename(path)
    return path


@contextlib.contextmanager
def scratch_folder(folder: str) -> Iterator[Path]:
    """A new local folder for files on their way to `folder`: on its own disk where that is local, so that
    publishing is a rename; removed afterwards with whatever was left in it."""
    parent = None
    if is_local(folder):
        parent = Path(local_path(folder)) / SCRATCH
        with writing(folder):
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
    fs, path = _filesystem(url)
    if not is_local(url):
        with writing(url):
            fs.put_file(str(source), path)
        source.unlink()
        return
    with writing(url):
        with source.open("rb") as file:
            os.fsync(file.fileno())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
        sync(Path(path).parent)


def publish_folder(made: Path, url: str) -> None:
    """The finished local folder takes the local URL's name by a rename on its disk, after all in it is on the disk; a
    folder that has the name is moved beside `made` first, then removed. Readers never see a half-written one."""
    target, before = Path(local_path(url)), made.with_name(f"{made.name}.before")
    with writing(url):
        with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:  # a disk commits many files as fast as one
            list(pool.map(sync, made.rglob("*")))
        sync(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(before)
        made.rename(target)
        sync(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def move(source: str, url: str) -> None:
    """The file at `source` stands at `url` instead, both in one store: by a rename, or on an object store by a copy
    there. Who reads `url` finds the old file or the new one."""
    fs, path = _filesystem(url)
    with writing(url):
        if not is_local(url):
            fs.copy(local_path(source), path)
            fs.rm_file(local_path(source))
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(local_path(source)).replace(path)
        sync(Path(path).parent)


def sync(path: Path) -> None:
    """The local file's content, or the folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(url: str, data: bytes) -> None:
    """The file holds exactly `data` afterwards; a reader sees the old content or the new, never a part."""
    folder = posixpath.dirname(local_path(url)) if is_local(url) else url
    with scratch_folder(folder) as scratch, writing(url):
        part = scratch / "part"
        part.write_bytes(data)
        publish(part, url)


def create(url: str, data: bytes) -> bool:
    """Writes the file unless there is one; whether it did. Of many who try at once one succeeds (S3: If-None-Match)."""
    fs, path = _filesystem(url)
    try:
        with writing(url):
            fs.pipe_file(path, data, mode="create")
    except OpenwitError:
        raise
    except Exception as error:  # it is there, or a bucket, a credential, the network is not: each store says it its way
        if exists(url):
            return False
        raise WorkError(f"{url}: cannot be written ({type(error).__name__}: {one_line(str(error))})") from error
    return True


def write_json(url: str, value: object) -> None:
    """The file holds `value` as indented JSON with sorted keys afterwards."""
    write_bytes(url, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
