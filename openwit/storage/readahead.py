"""Tars opened for reading in sequence: local ones plainly, those of an object store with what comes next fetched ahead.

A store that fails is asked again, in growing intervals, for a time; then training ends, for it must not go on with
other samples than it would have had. Only a tar that the store says it does not have is left to be skipped.
"""

from __future__ import annotations

import asyncio
import io
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, BinaryIO, TypeVar

import fsspec
from fsspec.asyn import get_loop
from fsspec.core import url_to_fs

from openwit import storage
from openwit.errors import InputError, OpenwitError, WorkError

LOCAL_BLOCK = 128 << 10
REMOTE_BLOCK = 4 << 20
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
MAX_CONNECTIONS = 64
REQUEST_S = 60.0  # a request without an answer for so long has failed
MISSING, REFUSED = (404, 410), (401, 403)
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError"}  # botocore's, which other stores do without

T = TypeVar("T")


class TarFiles:
    """Opens tars. Closing it ends at once whatever waits for a store, in any thread."""

    def __init__(self, ahead_bytes: int, patience_s: float, block_bytes: int = REMOTE_BLOCK) -> None:
        """Of each remote file `ahead_bytes` are fetched before they are asked for, in blocks of `block_bytes`, less
        where two would be more than that."""
        self.block_bytes = max(1, min(block_bytes, ahead_bytes // 2))
        self.num_ahead = max(1, ahead_bytes // self.block_bytes)
        self.patience_s = patience_s
        self._lock = threading.Lock()
        self._stores: dict[str, fsspec.AbstractFileSystem] = {}
        self._waiting: set[Future[Any]] = set()
        self._is_closed = False

    def open(self, url: str) -> BinaryIO:
        """The file, seekable. Raises InputError where it is missing or a folder; WorkError, also when it is read later,
        where its store fails for too long or refuses access."""
        if storage.is_local(url):
            with storage.reading(url):
                return open(storage.local_path(url), "rb", buffering=LOCAL_BLOCK)
        remote = RemoteFile(self, url)
        return io.BufferedReader(remote, min(self.block_bytes, LOCAL_BLOCK))

    def close(self) -> None:
        """Ends all waiting: who waits for a store gets CancelledError, now and later."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()

    def store(self, url: str) -> tuple[fsspec.AbstractFileSystem, str]:
        """The file system, one for all threads, and the file's path on it."""
        protocol = url.partition("://")[0]
        with self._lock, storage.reading(url):
            if protocol not in self._stores:
                self._stores[protocol] = _open_store(url, protocol)
            store = self._stores[protocol]
            return store, store._strip_protocol(url)

    def start(self, url: str, request: Callable[[], Awaitable[T]]) -> Future[T]:
        """What the request gives, tried again and again; it runs in fsspec's own thread."""
        with self._lock:
            if self._is_closed:
                raise CancelledError
            future = asyncio.run_coroutine_threadsafe(_patiently(url, request, self.patience_s), get_loop())
            self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future


class RemoteFile(io.RawIOBase):
    """A file of an object store; the blocks from the one that is read on are on their way."""

    def __init__(self, files: TarFiles, url: str) -> None:
        super().__init__()
        self._files, self._url, self._place = files, url, 0
        self._blocks: dict[int, Future[bytes]] = {}
        self._store, self._path = files.store(url)
        self._num_bytes = files.start(url, self._size).result()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._num_bytes}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the block at hand does; 0 at the end."""
        if self._place >= self._num_bytes:
            return 0
        number, offset = divmod(self._place, self._files.block_bytes)
        self._fetch_from(number)
        data = self._blocks[number].result()[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        """Nothing is fetched for it any more."""
        for future in self._blocks.values():
            future.cancel()
        self._blocks.clear()
        super().close()

    def _fetch_from(self, number: int) -> None:
        last = (self._num_bytes - 1) // self._files.block_bytes
        wanted = range(number, min(number + self._files.num_ahead - 1, last) + 1)
        for passed in [other for other in self._blocks if other not in wanted]:
            self._blocks.pop(passed).cancel()
        for coming in wanted:
            if coming not in self._blocks:
                self._blocks[coming] = self._files.start(self._url, partial(self._block, coming))

    async def _size(self) -> int:
        store = self._store
        info = await (store._info(self._path) if store.async_impl else asyncio.to_thread(store.info, self._path))
        if info["type"] == "directory":
            raise InputError(f"{self._url}: is a folder, a tar is expected")
        return int(info["size"])

    async def _block(self, number: int) -> bytes:
        start = number * self._files.block_bytes
        stop = min(start + self._files.block_bytes, self._num_bytes)
        store, path = self._store, self._path
        if store.async_impl:
            data = await store._cat_file(path, start=start, end=stop)
        else:
            data = await asyncio.to_thread(store.cat_file, path, start, stop)
        if len(data) != stop - start:
            raise OSError(f"{len(data)} bytes came instead of {stop - start}")
        return bytes(data)


def _open_store(url: str, protocol: str) -> fsspec.AbstractFileSystem:
    """A file system of our own, one for all threads, and on S3 without tries of its own: ours are counted."""
    if protocol not in ("s3", "s3a"):
        return url_to_fs(url, skip_instance_cache=True)[0]
    options = {"retries": {"total_max_attempts": 1}, "max_pool_connections": MAX_CONNECTIONS}
    store = url_to_fs(url, skip_instance_cache=True, config_kwargs=options)[0]
    store.retries = 1
    return store


async def _patiently(url: str, request: Callable[[], Awaitable[T]], patience_s: float) -> T:
    first_failure, wait_s = 0.0, FIRST_WAIT_S
    while True:
        try:
            return await asyncio.wait_for(request(), REQUEST_S)
        except Exception as error:
            _raise_final(url, error)
            now = time.monotonic()
            first_failure = first_failure or now
            pause_s = wait_s * random.uniform(0.5, 1.0)
            if now + pause_s - first_failure > patience_s:
                raise WorkError(
                    f"{url}: cannot be read, tried for {patience_s:g} s ({_said(error)}); when its store answers "
                    f"again, the same command goes on"
                ) from error
        await asyncio.sleep(pause_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _raise_final(url: str, error: Exception) -> None:
    """Raises where another try would not help. The first cause counts: fsspec's http says FileNotFoundError for all."""
    if isinstance(error, OpenwitError):
        raise error
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    status = _status(cause)
    if status in MISSING or (status is None and isinstance(cause, FileNotFoundError)):
        raise InputError(f"{url}: no such file") from error
    if status in REFUSED or isinstance(cause, PermissionError) or type(cause).__name__ in NO_CREDENTIALS:
        raise WorkError(
            f"{url}: its store refuses access ({_said(error)}); set credentials that may read it, then the same "
            f"command goes on"
        ) from error


def _status(error: BaseException) -> int | None:
    """The HTTP status, as aiohttp or botocore tell it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
