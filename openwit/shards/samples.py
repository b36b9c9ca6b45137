"""The samples of a WebDataset tar: neighbouring members with the same key.

The key is the folder's path and the file's name up to its first dot, the suffix what follows that dot, in lower case:
`a/b.JPG` and `a/b.txt` are the jpg and txt of sample a/b. A leading ./ is no part of the key. What a Mac adds (._x,
.DS_Store, __MACOSX), hidden files and files without a suffix belong to no sample.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, BinaryIO

from openwit import storage
from openwit.errors import InputError
from openwit.shards.notes import SampleRecord, read_record
from openwit.shards.tar import BrokenTar, BufferPool, Encoded, TarEntry, TarReader

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2", "avif")
IMAGES = frozenset(IMAGE_SUFFIXES)
NEEDED = IMAGES | {"json", "txt"}
MAX_SAMPLE_BYTES = 256 << 20  # of all members of a sample together
MAX_SAMPLE_MEMBERS = 256
UNLISTED = ("link", "device", "folder")  # kinds of members that WebDataset takes no notice of
DAMAGE = (BrokenTar, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
DETAILS = {
    "link": "its image is a link",
    "device": "its image is no file",
    "folder": "its image is a folder",
    "sparse": "a sparse file is not read",
    "special": "a member is of an unknown kind",
    "header": "a header of it is damaged",
    "too_large": f"it is larger than {MAX_SAMPLE_BYTES >> 20} MiB",
    "empty": "its image is empty",
    "no_image": "it has no image",
}


@dataclass(frozen=True)
class TarSample:
    """Neighbouring members with the same key: their contents by suffix, e.g. {"jpg": …, "txt": …, "json": …}. In an
    epoch that uses it more than once, `copy` counts the uses before. `shard` is the tar's name without .tar."""

    key: str
    members: dict[str, Encoded]
    copy: int = 0
    shard: str = field(default="", compare=False)

    @property
    def mark(self) -> str:
        """What tells apart the random draws for this use of it: the key, and behind it the copy, if there is one."""
        return f"{self.key}\0{self.copy}" if self.copy else self.key

    @property
    def image(self) -> Encoded | None:
        """The encoded image: of several that with the first of IMAGE_SUFFIXES."""
        return next((self.members[suffix] for suffix in IMAGE_SUFFIXES if self.members.get(suffix)), None)

    @property
    def record(self) -> SampleRecord:
        """What its json and txt say of it; worked out anew each time."""
        return read_record(self.members, self.shard, self.key)


@dataclass(frozen=True)
class Unusable:
    """Why a sample, or all that follows in a tar, is not used: `reason` in one word, to be counted."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True)
class StoredImage:
    """The image of a sample with its record."""

    key: str
    data: bytes
    record: SampleRecord


def read_samples(url: str, skipped: Counter[str] | None = None) -> Iterator[TarSample]:
    """The samples of a tar, each with an image, in order; those that cannot be used are added to `skipped` by reason.
    Raises InputError where the tar is missing or damaged, after the samples before that place."""
    for item in scan_samples(url):
        if isinstance(item, TarSample):
            yield item
        elif skipped is not None:
            skipped[item.reason] += 1


def read_images(url: str, skipped: Counter[str] | None = None) -> Iterator[StoredImage]:
    """The images of the samples with their records. Raises as `read_samples`."""
    for sample in read_samples(url, skipped):
        yield stored_image(sample)


def stored_image(sample: TarSample) -> StoredImage:
    """The sample's image."""
    assert sample.image is not None
    return StoredImage(sample.key, bytes(sample.image), sample.record)


def scan_samples(url: str) -> Iterator[TarSample | Unusable]:
    """The samples of a tar, plain or compressed by gzip, bzip2 or xz, and in their places those that cannot be used.
    Raises InputError where the tar is missing or damaged."""
    with storage.open_input(url) as file, storage.reading(url):
        for item in scan_tar(_decompressed(file), shard=shard_name(url)):
            if isinstance(item, Unusable) and item.reason == "tar":
                raise InputError(f"{url}: is damaged ({item.detail})")
            yield item


def shard_name(url: str) -> str:
    """00000 of s3://data/shards/00000.tar."""
    return url.rpartition("/")[2].removesuffix(".tar")


def split_name(name: str) -> tuple[str, str] | None:
    """The key and suffix of a member, or None where it belongs to no sample."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot or (slash and "__MACOSX" in folder.split("/")):
        return None
    while folder == "." or folder.startswith("./"):
        folder = folder[2:].lstrip("/")
    return (f"{folder}/{stem}" if folder or (slash and name[0] == "/") else stem), suffix.lower()


@dataclass(slots=True)
class _Group:
    """A sample in the making."""

    key: str
    problem: str = ""  # why it cannot be used, if it has no image
    is_spoiled: bool = False  # by its problem, though it has an image
    has_image: bool = False
    num_bytes: int = 0
    members: dict[str, Encoded] = field(default_factory=dict)


def scan_tar(
    file: BinaryIO | IO[bytes], start: int = 0, pool: BufferPool | None = None, shard: str = ""
) -> Iterator[TarSample | Unusable]:
    """The samples of an open tar from the `start`-th on, those that cannot be used in their places; larger members in
    buffers of the pool, if there is one. Neighbours without an image and without json are no sample. It never raises
    for what is inside the file: where that ends early or is no tar, the last item says so. Raises OSError where it
    cannot be read."""
    reader = TarReader(file, pool)
    group, number = _Group(""), 0
    linked, problem = "", ""  # the key of an image that is a link or worse, and what it is
    try:
        while (entry := reader.next()) is not None:
            named = split_name(entry.name)
            if named is None:
                continue
            key, suffix = named
            if entry.kind in UNLISTED:
                if suffix in IMAGES and key == group.key:
                    group.problem = group.problem or entry.kind
                elif suffix in IMAGES:
                    linked, problem = key, entry.kind
                continue
            if key != group.key or suffix in group.members:
                if (item := _sample(group, shard)) is not None:
                    number += 1
                    if number > start:
                        yield item
                group = _Group(key, problem=problem if key == linked else "")
            _take(reader, entry, suffix, group, is_read=number >= start)
    except DAMAGE as error:
        yield Unusable(group.key, "tar", f"{error}")
        return
    if (item := _sample(group, shard)) is not None and number >= start:
        yield item


def _take(reader: TarReader, entry: TarEntry, suffix: str, group: _Group, is_read: bool) -> None:
    """Adds a member to the group, or what is wrong with it."""
    is_large = group.num_bytes + entry.size > MAX_SAMPLE_BYTES or len(group.members) >= MAX_SAMPLE_MEMBERS
    if entry.kind or is_large:
        if suffix in NEEDED:
            group.problem, group.is_spoiled = entry.kind or "too_large", True
        return
    group.num_bytes += entry.size
    group.members[suffix] = reader.read(entry) if is_read else b""
    if suffix in IMAGES:
        group.has_image = group.has_image or entry.size > 0
        group.problem = group.problem or ("" if entry.size else "empty")


def _sample(group: _Group, shard: str) -> TarSample | Unusable | None:
    """What the group came to; None where it is no sample."""
    if group.has_image and not group.is_spoiled:
        return TarSample(group.key, group.members, shard=shard)
    problem = group.problem or ("no_image" if "json" in group.members else "")
    return Unusable(group.key, problem, DETAILS[problem]) if problem else None


def _decompressed(file: BinaryIO | IO[bytes]) -> BinaryIO | IO[bytes]:
    begin = file.read(6)
    file.seek(0)
    for magic, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if begin.startswith(magic):
            return io.BufferedReader(opened(file, "rb"))
    return file
