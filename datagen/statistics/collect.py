"""What is in the data set: collected from the manifests and tables of a work folder, or of img2dataset's folder.

A few images with their captions, as a person would look at the data set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from datagen.config import StatisticsConfig
from datagen.crawl.fetch.failures import reason
from datagen.crawl.retries import Keys, is_superseded, latest_attempts
from datagen.duplicates.fingerprints import decode_small, shown
from datagen.funnel import DroppedReason, FunnelStep, funnel, most_dropped
from datagen.statistics.distribution import Distribution, distribution
from datagen.statistics.queries import QueryStatistics, collect_queries
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.shards.notes import caption_texts
from openwit.shards.samples import StoredImage, read_images
from openwit.storage.tables import open_parquet

MAX_SHARDS = 8


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of the shards."""

    key: str
    url: str
    captions: list[str]
    jpeg: bytes  # at most 128 px a side


def collect_samples(folder: str, number: int) -> list[Sample]:
    """The first images of up to eight shards spread over the folder; the same for the same shards."""
    names = [name for name in storage.list_sizes(folder) if name.endswith(".tar")]
    step = max(1, len(names) // MAX_SHARDS)
    chosen = names[::step][:MAX_SHARDS]
    samples: list[Sample] = []
    for place, name in enumerate(chosen):
        wanted = (number - len(samples)) // (len(chosen) - place)
        samples += islice(_samples(read_images(storage.join(folder, name))), wanted)
    return samples


def _samples(images: Iterator[StoredImage]) -> Iterator[Sample]:
    for image in images:
        try:
            jpeg = shown(decode_small(image.data))
        except InputError:
            continue  # the overlap check counts what cannot be decoded; here it is only not shown
        record = image.record
        captions = [entry.caption for entry in record.captions]
        yield Sample(key=image.key, url=record.url, captions=captions, jpeg=jpeg)


SHARD = re.compile(r"\d{5,}\.parquet")
WANTED = ("key", "url", "caption", "captions", "status", "error_message", "width", "height")


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All that the table, the JSON and the page show. What a folder cannot tell (yet) is None, empty or 0."""

    work: str
    recipe: str
    attribution: str
    funnel: list[FunnelStep]
    most_dropped: list[DroppedReason]  # of all steps
    selected: int  # pairs under the cap
    image_urls: int  # of the selected pairs
    shards: int
    tar_bytes: int
    images: int  # fetched
    pairs: int  # captions of the fetched images
    failures: dict[str, int]  # reason → number
    width_px: Distribution
    height_px: Distribution
    caption_chars: Distribution
    caption_words: Distribution
    captions_per_image: Distribution
    num_hosts: int
    hosts: dict[str, int]  # the commonest, host → images
    queries: QueryStatistics | None
    samples: list[Sample] = field(default_factory=list)


@dataclass
class _Tally:
    """What is added up over the shards."""

    images: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    width: Counter[int] = field(default_factory=Counter)
    height: Counter[int] = field(default_factory=Counter)
    chars: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    captions: Counter[int] = field(default_factory=Counter)


def collect(
    work: str,
    *,
    attribution: str = "",
    config: StatisticsConfig = StatisticsConfig(),  # noqa: B008  (frozen)
) -> Statistics:
    """The statistics of a work folder from the cap on, or of a folder that img2dataset wrote (the shards alone).
    Raises InputError where there is nothing to show, or a table is damaged."""
    folder = _shards_folder(work)
    sizes = storage.list_sizes(folder)
    queries = collect_queries(work, config.rows)
    if queries is None and not any(SHARD.fullmatch(name) for name in sizes):
        raise InputError(
            f"{work}: neither a finished cap/ nor shards (NNNNN.parquet); openwit build-dataset makes them"
        )
    steps, selected = funnel(work), _manifest(work, "selected")
    tally = _Tally()
    tables = [storage.join(folder, name) for name in sizes if SHARD.fullmatch(name)]
    later = latest_attempts(tables) if storage.exists(storage.join(work, "retries")) else None
    for table in tables:
        _add_shard(tally, table, later)
    return Statistics(
        work=work,
        recipe=_recipe(work, folder),
        attribution=attribution,
        funnel=steps,
        most_dropped=most_dropped(steps, config.rows),
        selected=selected.counts["kept"] if selected else 0,
        image_urls=selected.rows if selected else 0,
        shards=len(tables),
        tar_bytes=sum(size for name, size in sizes.items() if name.endswith(".tar")),
        images=tally.images,
        pairs=sum(captions * images for captions, images in tally.captions.items()),
        failures=_commonest(tally.failures),
        width_px=distribution(tally.width),
        height_px=distribution(tally.height),
        caption_chars=distribution(tally.chars),
        caption_words=distribution(tally.words),
        captions_per_image=distribution(tally.captions),
        num_hosts=len(tally.hosts),
        hosts=_commonest(tally.hosts, config.rows),
        queries=queries,
        samples=collect_samples(folder, config.gallery),
    )


def to_json(statistics: Statistics) -> str:
    """Indented JSON; the samples without their images."""
    content = msgspec.to_builtins(statistics)
    for sample in content["samples"]:
        del sample["jpeg"]
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _shards_folder(work: str) -> str:
    """work/shards, or the folder itself where shards lie there."""
    return work if any(SHARD.fullmatch(name) for name in storage.list_sizes(work)) else storage.join(work, "shards")


def _manifest(*names: str) -> Manifest | None:
    folder = storage.join(*names)
    return manifests.read(folder) if storage.exists(storage.join(folder, manifests.MANIFEST)) else None


def _recipe(work: str, shards: str) -> str:
    made = _manifest(shards) or _manifest(work, "cap")
    return made.recipe if made else ""


def _add_shard(tally: _Tally, url: str, later: Keys | None) -> None:
    for batch in _batches(url):
        if later is not None:
            batch = batch.filter(pa.array(~is_superseded(batch.column("key"), later)))
        columns = {name: batch.column(name).to_pylist() for name in WANTED if name in batch.schema.names}
        nothing = [None] * batch.num_rows
        for address, status, message in zip(
            columns.get("url", nothing), columns["status"], columns.get("error_message", nothing), strict=True
        ):
            if status == "success":
                tally.images += 1
                tally.hosts[urlsplit(address or "").hostname or ""] += 1
            else:
                tally.failures[reason(message or "")] += 1
        _add_sizes(tally, columns)
        _add_captions(tally, columns, nothing)


def _batches(url: str) -> Iterator[pa.RecordBatch]:
    with open_parquet(url) as parquet:
        names = [name for name in WANTED if name in parquet.schema_arrow.names]
        if "status" not in names:
            raise InputError(f"{url}: has no column status, so img2dataset did not write it")
        yield from parquet.iter_batches(columns=names)


def _add_sizes(tally: _Tally, columns: dict[str, list[object]]) -> None:
    for name, counter in (("width", tally.width), ("height", tally.height)):
        values = columns.get(name, [])
        counter.update(value for value in values if isinstance(value, int))  # of a failure it is null


def _add_captions(tally: _Tally, columns: dict[str, list[object]], nothing: list[None]) -> None:
    lists, firsts = (columns.get(name, nothing) for name in ("captions", "caption"))
    for status, several, first in zip(columns["status"], lists, firsts, strict=True):
        if status != "success":
            continue
        texts = caption_texts({"captions": several, "caption": first})
        tally.captions[len(texts)] += 1
        tally.chars.update(len(text) for text in texts)
        tally.words.update(len(text.split()) for text in texts)


def _commonest(counts: Counter[str], number: int | None = None) -> dict[str, int]:
    """By falling number, then by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number])
