"""Bytes of plain, bz2 or gzip files by fsspec URL, decompressed as a stream; damage is named by file and offset."""

from __future__ import annotations

import bz2
import hashlib
import posixpath
import zlib
from collections.abc import Iterator
from typing import Protocol

from openwit import storage
from openwit.errors import InputError

RAW_BYTES = 256 << 10
CHUNK_BYTES = 1 << 20

_MAGIC = {b"BZh": "bz2", b"\x1f\x8b": "gzip"}
_UNREAD = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"PK\x03\x04": "zip",
}


class _Decompressor(Protocol):
    """One compressed stream; a file may hold several, end to end."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's object with the interface of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = len(out) < max_length and not self._inner.unconsumed_tail
        return out


class InputStream:
    """A file read once from its start. `num_bytes` and `sha256` are of the file as stored, whole after the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.num_bytes = 0
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hex digest of what was read so far."""
        return self._hash.hexdigest()

    def facts(self) -> dict[str, str | int]:
        """Name, size and digest, for the list's record of its inputs."""
        return {"name": posixpath.basename(self.url), "bytes": self.num_bytes, "sha256": self.sha256}

    def chunks(self) -> Iterator[bytes]:
        """The decompressed bytes, at most 1 MiB at a time. Raises InputError, with the offset in the stored file,
        where the data is damaged, cut off, or compressed in a way that is not read."""
        raw = self._raw()
        first = next(raw, b"")
        for magic, name in _UNREAD.items():
            if first.startswith(magic):
                raise InputError(f"{self.url}: is {name} data; expected plain, bz2 or gzip; compress it so")
        for magic, name in _MAGIC.items():
            if first.startswith(magic):
                yield from self._decompressed(first, raw, name)
                return
        yield first
        yield from raw

    def _raw(self) -> Iterator[bytes]:
        with storage.open_input(self.url) as file:
            while data := file.read(RAW_BYTES):
                self.num_bytes += len(data)
                self._hash.update(data)
                yield data

    def _decompressed(self, data: bytes, raw: Iterator[bytes], kind: str) -> Iterator[bytes]:
        stream = _new(kind)
        while True:
            try:
                out = stream.decompress(data, CHUNK_BYTES)
            except (OSError, zlib.error, EOFError) as error:
                at = self.num_bytes - len(data)
                raise InputError(f"{self.url}: damaged {kind} data near byte {at} ({error}); fetch it again") from None
            data = b""
            if out:
                yield out
            if stream.eof:
                data = stream.unused_data.lstrip(b"\0") or next(raw, b"").lstrip(b"\0")
                if not data:
                    return
                stream = _new(kind)
            elif stream.needs_input:
                data = next(raw, b"")
                if not data:
                    raise InputError(
                        f"{self.url}: ends at byte {self.num_bytes} in the middle of its {kind} data; "
                        "expected the end of the stream; fetch it again"
                    )


def _new(kind: str) -> _Decompressor:
    return bz2.BZ2Decompressor() if kind == "bz2" else _Gzip()
