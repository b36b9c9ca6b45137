"""The images of a shard, read as one stream."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from openwit import storage
from openwit.errors import InputError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")


class Caption(msgspec.Struct, frozen=True):
    """One of an image's captions."""

    uid: str
    caption: str = ""


class SampleRecord(msgspec.Struct, frozen=True):
    """What key.json says of an image; a folder made by img2dataset alone has neither uid nor captions."""

    url: str = ""
    caption: str | None = ""
    uid: str = ""
    captions: list[Caption] | None = None
    sha256: str | None = None

    @property
    def uids(self) -> list[str]:
        """Of all pairs that show this image, the first caption's first."""
        return list(dict.fromkeys(uid for uid in (self.uid, *(c.uid for c in self.captions or ())) if uid))


@dataclass(frozen=True)
class StoredImage:
    """One sample of a shard."""

    key: str
    data: bytes
    record: SampleRecord


def read_images(url: str) -> Iterator[StoredImage]:
    """Every image of the tar with its record, in order. Raises InputError where the tar or a record is damaged."""
    with storage.open_input(url) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                yield from _samples(tar, url)
        except (tarfile.TarError, EOFError) as error:
            raise InputError(f"{url}: is damaged ({error}); delete it and run build-dataset again") from None


def _samples(tar: tarfile.TarFile, url: str) -> Iterator[StoredImage]:
    key, data, record = "", b"", SampleRecord()
    for member in tar:
        stem, _, suffix = member.name.partition(".")
        if stem != key:
            if data:
                yield StoredImage(key, data, record)
            key, data, record = stem, b"", SampleRecord()
        file = tar.extractfile(member)
        if file is None:
            continue
        if suffix.lower() in IMAGE_SUFFIXES:
            data = file.read()
        elif suffix == "json":
            try:
                record = msgspec.json.decode(file.read(), type=SampleRecord)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                raise InputError(f"{url}: {member.name} is damaged ({error})") from None
    if data:
        yield StoredImage(key, data, record)
