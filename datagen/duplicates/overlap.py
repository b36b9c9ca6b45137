"""Streams a shard's pictures past the index of the evaluation pictures and writes those that it knows."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import OverlapConfig
from datagen.duplicates.hashes import U8, Fingerprints, decode, shown, thumbnail
from datagen.duplicates.index import Limits, Match, load_index
from datagen.pictures import Picture, read_pictures
from openwit.errors import InputError
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table

BATCH_PICTURES = 256

OVERLAP = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("eval_set", pa.string()),
        ("eval_key", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("uids", pa.list_(pa.string())),  # of all pairs that show the picture
        ("url", pa.string()),
        ("caption", pa.string()),
        ("shown", pa.binary()),  # a small JPEG for the report
    ]
)


def process(config: OverlapConfig, source: Source, target: Target) -> Counts:
    """Writes a row for each evaluation picture that each of the shard's pictures is (columns OVERLAP).

    Counts pictures: `kept` are in no evaluation set, `dropped.overlap_sha256` and `dropped.overlap_phash` are in one,
    `dropped.undecodable` cannot be read. Nothing is taken out of the shard.
    """
    index = load_index(tuple((entry.url, entry.identity) for entry in source.inputs["index"]))
    limits = Limits(
        max_distance64=config.max_distance64,
        max_distance256=config.max_distance256,
        max_color_distance=config.max_color_distance,
        min_contrast=config.min_contrast,
    )
    counts: Counts = Counter({"in": 0, "kept": 0, "rows": 0})
    with pq.ParquetWriter(target.path(".parquet"), OVERLAP, compression="zstd") as writer:
        for batch in _batches(read_pictures(source.url("tar"))):
            pictures = _decode(batch, counts)
            prints = Fingerprints.of([thumbnail(small) for _, small in pictures])
            digests = [{hashlib.sha256(p.data).hexdigest(), p.record.sha256 or ""} for p, _ in pictures]
            matches = index.search(prints, digests, limits)
            _count(len(pictures), matches, counts)
            if matches:
                writer.write_table(_table(pictures, matches))
    _check_whole(source, counts["in"])
    return counts


OVERLAP_STAGE: Stage[OverlapConfig] = Stage("overlap", 1, process)


def _batches(pictures: Iterator[Picture]) -> Iterator[list[Picture]]:
    while batch := list(itertools.islice(pictures, BATCH_PICTURES)):
        yield batch


def _decode(batch: list[Picture], counts: Counts) -> list[tuple[Picture, U8]]:
    decoded = []
    for picture in batch:
        counts["in"] += 1
        try:
            decoded.append((picture, decode(picture.data)))
        except InputError:
            counts["dropped.undecodable"] += 1
    return decoded


def _count(number: int, matches: list[Match], counts: Counts) -> None:
    """Each picture once, by its surest match."""
    reasons: dict[int, str] = {}
    for match in matches:
        reasons[match.query] = max(match.reason, reasons.get(match.query, ""))  # sha256 > phash
    counts["kept"] += number - len(reasons)
    counts["rows"] += len(matches)
    for reason in reasons.values():
        counts[f"dropped.overlap_{reason}"] += 1


def _table(pictures: list[tuple[Picture, U8]], matches: list[Match]) -> pa.Table:
    rows = []
    for match in matches:
        picture, small = pictures[match.query]
        record = picture.record
        found = (match.eval_set, match.eval_key, match.reason, match.score)
        uid = record.uids[0] if record.uids else ""
        rows.append((uid, picture.key, *found, record.uids, record.url, record.caption, shown(small)))
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=OVERLAP)


def _check_whole(source: Source, num_pictures: int) -> None:
    """A tar that ends early at a sample's border reads like a whole one; its table tells. Raises InputError."""
    status = read_table(source.url("parquet"), ["status"])["status"].to_pylist()
    expected = status.count("success")
    if num_pictures != expected:
        raise InputError(
            f"{source.url('tar')}: holds {num_pictures} pictures, its table {expected};"
            " delete it and run build-dataset again"
        )
