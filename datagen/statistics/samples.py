"""A few pictures with their captions, as a person would look at the data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from datagen.duplicates.hashes import decode, shown
from datagen.pictures import Picture, read_pictures
from openwit import storage
from openwit.errors import InputError

MAX_SHARDS = 8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture of the shards."""

    key: str
    url: str
    captions: list[str]
    jpeg: bytes  # at most 128 px a side


def collect_samples(folder: str, number: int) -> list[Sample]:
    """The first pictures of up to eight shards spread over the folder; the same for the same shards."""
    names = [name for name in storage.list_sizes(folder) if name.endswith(".tar")]
    step = max(1, len(names) // MAX_SHARDS)
    chosen = names[::step][:MAX_SHARDS]
    samples: list[Sample] = []
    for place, name in enumerate(chosen):
        wanted = (number - len(samples)) // (len(chosen) - place)
        samples += islice(_samples(read_pictures(storage.join(folder, name))), wanted)
    return samples


def _samples(pictures: Iterator[Picture]) -> Iterator[Sample]:
    for picture in pictures:
        try:
            jpeg = shown(decode(picture.data))
        except InputError:
            continue  # the overlap check counts what cannot be decoded; here it is only not shown
        record = picture.record
        captions = [entry.caption for entry in record.captions or ()] or [record.caption or ""]
        yield Sample(key=picture.key, url=record.url, captions=captions, jpeg=jpeg)
