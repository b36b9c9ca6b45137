"""A shard's images as rows to be dealt by band, and what is known of each image.

An image takes a row of 120 bytes for each band, 2 KB in all with 16; with a detector its vector in half precision
comes on top, 8 KB for 256 numbers.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.embed import Embedder, open_embedder
from datagen.duplicates.fingerprints import U64, Fingerprints, decode_small, pixels_sha256, thumbnail
from datagen.duplicates.within.bands import PIXELS, SHA256, band_keys, digest_keys, partitions
from datagen.duplicates.within.config import PrintsConfig
from datagen.schemas import CAPTIONS
from datagen.shards.rows import ShardImages, caption_rows
from openwit.errors import InputError
from openwit.shards.samples import StoredImage
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.slices import writing_slices
from openwit.storage.tables import read_table

WORD = pa.binary(32)
BANDED = pa.schema(
    [
        ("key", pa.uint64()),
        ("id", pa.uint64()),  # shard and row of its table
        ("hash", WORD),  # of a band, hash256; else the digest
        ("reliable", WORD),
        ("colors", WORD),
        ("vector", pa.binary()),  # float16; empty without a detector, and of digests
    ]
)
NODES = pa.schema(
    [
        ("id", pa.uint64()),
        ("key", pa.string()),
        ("url", pa.string()),
        ("area", pa.int64()),  # of the original image, in pixels
        ("captions", CAPTIONS),
    ]
)
_ROW_BITS = 32


def node_id(shard: int, row: int) -> int:
    """The number of an image: its shard, and its row in the shard's table."""
    return shard << _ROW_BITS | row


def shards_of(ids: U64) -> U64:
    """The shard of each image."""
    return ids >> np.uint64(_ROW_BITS)


def process(config: PrintsConfig, source: Source, target: Target) -> Counts:
    """Writes a shard's NNNNN.bands.arrow, slices (columns BANDED) by partition, and NNNNN.nodes.parquet (columns NODES)
    in the order of ids. Counts images: kept, `dropped.undecodable`, or dropped by the reason for which their sample
    cannot be used; `flat` ones have no bands. Raises InputError where tar and table tell of other images."""
    table = read_table(source.url("parquet"))
    rows = caption_rows(source.url("parquet"), table, ("original_width", "original_height", "width", "height"))
    embedder = None
    if "detector" in source.inputs:
        detector = source.input("detector")
        embedder = open_embedder(detector.url, detector.identity, config.device)
    reader = _ShardReader(config, embedder, Counter({"in": 0, "kept": 0}))
    batches, nodes = [BANDED.empty_table()], []
    for batch in ShardImages(source.url("tar"), rows, reader.counts).batches():
        for place, image in batch:
            row = rows[place]
            nodes.append((node_id(source.index, place), row["key"], row["url"], _area(row), _captions(row, image)))
        batches.append(reader.read([(node_id(source.index, place), image) for place, image in batch]))
    _write_slices(pa.concat_tables(batches), config, target)
    columns = [list(column) for column in zip(*nodes, strict=True)] or [[]] * len(NODES)
    pq.write_table(pa.table(columns, schema=NODES), target.path(".nodes.parquet"), compression="zstd")
    return reader.counts


FINGERPRINT: Stage[PrintsConfig] = Stage("within_prints", 2, process)


def _captions(row: Mapping[str, Any], image: StoredImage) -> list[Mapping[str, Any]]:
    """Of the pairs that training finds in the tar, by their uids, all that the table tells."""
    told = {entry["uid"]: entry for entry in row["captions"]}
    return [told.get(own.uid) or {"uid": own.uid, "caption": own.caption} for own in image.record.captions]


def _area(row: Mapping[str, Any]) -> int:
    """Of the original image, in pixels; 0 where it is not known."""
    width, height = (row.get(f"original_{side}") or row.get(side) or 0 for side in ("width", "height"))
    return int(width * height)


@dataclass(frozen=True)
class _ShardReader:
    config: PrintsConfig
    embedder: Embedder | None
    counts: Counts

    def read(self, images: Sequence[tuple[int, StoredImage]]) -> pa.Table:
        """The rows of these images."""
        config, counts = self.config, self.counts
        ids, thumbnails, prepared, pixels = [], [], [], []
        for number, image in images:
            try:
                small = thumbnail(decode_small(image.data))
                large = [self.embedder.prepare(image.data)] if self.embedder is not None else []
                pixels.append(bytes.fromhex(pixels_sha256(image.data)) if config.pixels else b"")
            except InputError:
                counts["dropped.undecodable"] += 1
                continue
            ids.append(number)
            thumbnails.append(small)
            prepared += large
        counts["kept"] += len(ids)
        tables = [_exact(SHA256, [(n, hashlib.sha256(p.data).digest()) for n, p in images])]
        if config.pixels:
            tables.append(_exact(PIXELS, list(zip(ids, pixels, strict=True))))
        if config.near and ids:
            vectors = self.embedder.embed(prepared) if self.embedder is not None else np.zeros((len(ids), 0))
            tables.append(self._near(np.array(ids, np.uint64), Fingerprints.of(thumbnails), vectors.astype(np.float16)))
        return pa.concat_tables(tables)

    def _near(
        self, ids: U64, prints: Fingerprints, vectors: np.ndarray[tuple[int, int], np.dtype[np.float16]]
    ) -> pa.Table:
        structured = np.flatnonzero(prints.contrast >= self.config.min_contrast)
        self.counts["flat"] += len(ids) - len(structured)
        hashes, reliable = prints.hash256[structured], prints.reliable256[structured]
        keys = band_keys(hashes, reliable, self.config.num_bands, self.config.band_bits)
        one = pa.table(
            [
                np.zeros(len(structured), np.uint64),
                ids[structured],
                *(_words(words) for words in (hashes, reliable, prints.colors[structured])),
                [vector.tobytes() for vector in vectors[structured]],
            ],
            schema=BANDED,
        )
        return pa.concat_tables(
            [one.set_column(0, BANDED.field(0), pa.array(keys[:, b])) for b in range(keys.shape[1])]
        )


def _exact(kind: int, digests: Sequence[tuple[int, bytes]]) -> pa.Table:
    words = np.frombuffer(b"".join(digest for _, digest in digests), np.uint8).reshape(-1, 32)
    empty = _words(np.zeros_like(words))
    ids = np.array([number for number, _ in digests], np.uint64)
    columns = [digest_keys(words, kind), ids, _words(words), empty, empty, pa.array([b""] * len(digests), pa.binary())]
    return pa.table(columns, schema=BANDED)


def _words(
    rows: np.ndarray[tuple[int, int], np.dtype[np.uint64]] | np.ndarray[tuple[int, int], np.dtype[np.uint8]],
) -> pa.Array:
    """N rows of 32 bytes."""
    return pa.Array.from_buffers(WORD, len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows))])


def _write_slices(table: pa.Table, config: PrintsConfig, target: Target) -> None:
    table = table.combine_chunks()
    dealt = partitions(table["key"].to_numpy(), config.num_partitions)
    order = np.argsort(dealt, kind="stable")
    starts = np.searchsorted(dealt[order], np.arange(config.num_partitions + 1))
    table = table.take(pa.array(order)).combine_chunks()
    with writing_slices(target.path(".bands.arrow"), BANDED) as writer:
        for start, end in itertools.pairwise(starts):
            part = table.slice(start, end - start).combine_chunks()
            batches = part.to_batches()
            writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=BANDED))
