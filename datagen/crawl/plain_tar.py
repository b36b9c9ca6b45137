"""Tar files of plain members (a short name, bytes, neither time nor owner), in twenty lines where tarfile takes as long
for a member as a resizer for a picture."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from typing import IO

_BLOCK_BYTES, _RECORD_BYTES = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_LONGEST_NAME = 100
_AFTER_NAME = b"0000644\0" + b"0000000\0" * 2  # mode, owner, group
_AFTER_SIZE = b"00000000000\0"  # time
_BLANK_SUM = b" " * 8
_AFTER_SUM = b"0" + b"\0" * 100 + b"ustar\0" + b"00" + b"\0" * 247  # a file; no link; and nothing more to say
_FIXED_SUM = sum(_AFTER_NAME + _AFTER_SIZE + _BLANK_SUM + _AFTER_SUM)


class PlainTar:
    """Writes what webdataset's TarWriter writes, members named KEY.EXTENSION, without their times."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0

    def write(self, sample: Mapping[str, str | bytes]) -> None:
        """A sample: its `__key__`, and its members by extension."""
        key = sample["__key__"]
        assert isinstance(key, str)
        for extension, content in sorted(sample.items()):
            if extension != "__key__":
                self.add(f"{key}.{extension}", content.encode() if isinstance(content, str) else content)

    def add(self, name: str, content: bytes) -> None:
        """One member."""
        padding = bytes(-len(content) % _BLOCK_BYTES)
        self._file.write(header(name, len(content)) + content + padding)
        self._written += _BLOCK_BYTES + len(content) + len(padding)

    def close(self) -> None:
        """Writes the end; the file stays open."""
        self._file.write(bytes(2 * _BLOCK_BYTES + -(self._written + 2 * _BLOCK_BYTES) % _RECORD_BYTES))


def header(name: str, num_bytes: int) -> bytes:
    """The 512 bytes before a member's content, as tarfile writes them. Raises ValueError where it would need more."""
    named, size = name.encode("ascii"), b"%011o\0" % num_bytes
    if len(named) > _LONGEST_NAME or len(size) > 12:
        raise ValueError(f"{name}, {num_bytes} bytes: not a plain member of a tar file")
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(named) + sum(size))
    return b"".join((named.ljust(_LONGEST_NAME, b"\0"), _AFTER_NAME, size, _AFTER_SIZE, checksum, _AFTER_SUM))


def members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """(name, where its content starts, its bytes) of each member. Raises ValueError where one is not plain."""
    place = 0
    while (block := file.read(_BLOCK_BYTES)).strip(b"\0"):
        if len(block) < _BLOCK_BYTES or block[156:157] != b"0":
            raise ValueError(f"at byte {place} stands no plain member of a tar file")
        num_bytes = int(block[124:136].rstrip(b" \0"), 8)
        yield block[:_LONGEST_NAME].rstrip(b"\0").decode("ascii"), place + _BLOCK_BYTES, num_bytes
        place += _BLOCK_BYTES + num_bytes + -num_bytes % _BLOCK_BYTES
        file.seek(place)
