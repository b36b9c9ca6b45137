"""A shard as a tar and the table beside it: which sample is which row, and whether both tell of the same images."""

from __future__ import annotations

import posixpath
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from openwit import manifest as manifests
from openwit.errors import InputError
from openwit.shards.notes import record_of
from openwit.shards.samples import StoredImage, TarSample, scan_samples, shard_name, stored_image
from openwit.stage import Counts

ADOPTED = "adopted"  # the stage of a manifest of shards that img2dataset wrote without us
BATCH_IMAGES = 256
BATCH_BYTES = 64 << 20
Batch = list[tuple[int, StoredImage]]  # the row of the shard's table, and the image


def table_rows(url: str, table: pa.Table, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with the columns `wanted`, of those that the table has, and of two of one name the first. Raises
    InputError, naming the table's file, where there is no key or status."""
    names = table.column_names
    if missing := {"key", "status"} - set(names):
        raise InputError(f"{url}: lacks the column {min(missing)}; it has {', '.join(names)}")
    chosen = [names.index(name) for name in dict.fromkeys(wanted) if name in names]
    rows: list[dict[str, Any]] = table.select(chosen).to_pylist()
    return rows


def caption_rows(url: str, table: pa.Table, more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows with key, url, status and captions, and of the columns `more` those that the table has. What stands
    under captions is a list of entries with uid and caption, whatever the table holds."""
    rows = table_rows(url, table, ("key", "url", "uid", "caption", "captions", "status", *more))
    shard = shard_name(url.removesuffix(".parquet"))
    for row in rows:
        record = record_of(row, shard, str(row["key"]))
        row["url"] = record.url
        row["captions"] = [{**(c.told or {}), "uid": c.uid, "caption": c.caption} for c in record.captions]
    return rows


@dataclass(frozen=True)
class ShardImages:
    """The images of a shard's tar, each with its row: that of its key, or where the tar was packed anew with folders,
    that of its name."""

    tar: str
    rows: Sequence[dict[str, Any]]  # with key and status
    counts: Counts

    def batches(self) -> Iterator[Batch]:
        """Up to 256 images or 64 MiB at a time. Counts images `in`, and `dropped.<reason>` those that cannot be used.
        Raises InputError where the tar is damaged, or where tar and table tell of other images."""
        try:
            yield from self._batches()
        except InputError as error:
            raise InputError(f"{error}; {repair_hint(self.tar)}") from None

    def _batches(self) -> Iterator[Batch]:
        open_rows: defaultdict[str, deque[int]] = defaultdict(deque)
        for number, row in enumerate(self.rows):
            if row["status"] == "success":
                open_rows[str(row["key"])].append(number)
        expected = sum(map(len, open_rows.values()))
        batch: Batch = []
        num_bytes, unknown = 0, list[str]()
        for item in scan_samples(self.tar):
            places = open_rows.get(item.key) or open_rows.get(item.key.rpartition("/")[2])
            if not places:
                unknown += [item.key] if isinstance(item, TarSample) else []
                continue
            place = places.popleft()
            self.counts["in"] += 1
            if not isinstance(item, TarSample):
                self.counts[f"dropped.{item.reason}"] += 1
                continue
            image = stored_image(item)
            batch.append((place, image))
            num_bytes += len(image.data)
            if len(batch) == BATCH_IMAGES or num_bytes >= BATCH_BYTES:
                yield batch
                batch, num_bytes = [], 0
        if batch:
            yield batch
        self._compare(expected, unknown, [key for key, places in open_rows.items() if places])

    def _compare(self, expected: int, unknown: list[str], missing: list[str]) -> None:
        if unknown or missing:
            number = self.counts["in"] + len(unknown)
            one = f"{unknown[0]} is in the tar only" if unknown else f"{missing[0]} is in the table only"
            raise InputError(f"{self.tar}: holds {number} images, its table {expected} ({one})")


def repair_hint(tar: str) -> str:
    """What to do about a shard that is damaged."""
    try:
        is_ours = manifests.read(posixpath.dirname(tar)).stage != ADOPTED
    except InputError:
        return "put a whole shard in its place"
    if is_ours:
        return "delete it and run build-dataset again"
    return "put a whole copy of the shard in its place and run openwit adopt again"
