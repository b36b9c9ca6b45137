"""The index of one evaluation set: the digests and hashes of its images, one file a partition.

A shard's copy may be cropped a little, which hashes do not forgive. So each evaluation image stands in the index in
16 views, with and without a strip cut off each side; the shards' images, of which there are far more, have one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import IndexConfig
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.eval_sets.torchvision import EvalExample
from datagen.duplicates.fingerprints import SHOWN_PX, Fingerprints, decode_small, pixels_sha256, shown, thumbnail
from openwit.errors import InputError
from openwit.images import decode_reduced
from openwit.images.header import U8
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import open_parquet

BATCH_IMAGES = 256
WORDS = ("hash64", "reliable64", "hash256", "reliable256")
SET_DIGEST = b"sha256"  # where the file's notes hold the digest of keys and bytes

INDEX = pa.schema(
    [
        ("eval_set", pa.string()),
        ("eval_key", pa.string()),
        ("label", pa.string()),
        ("sha256", pa.string()),
        ("pixels", pa.string()),  # sha256 of the decoded image
        ("contrast", pa.float32()),  # of the whole image
        *[(name, pa.binary()) for name in WORDS],  # of all views, one behind the other
        ("colors", pa.binary()),
        ("shown", pa.binary()),  # a small JPEG for the report
    ]
)


def build(config: IndexConfig, source: Source, target: Target) -> Counts:
    """Writes the index of a part of an evaluation set (columns INDEX); what cannot be decoded is counted.

    Raises InputError where the part cannot be read, or a key is empty or occurs twice.
    """
    counts: Counts = Counter({"in": 0, "kept": 0, "dropped.undecodable": 0})
    digest = hashlib.sha256()
    keys: set[str] = set()
    inputs = source.inputs["eval_set"]
    with pq.ParquetWriter(target.path(".parquet"), INDEX, compression="zstd") as writer:
        examples = formats.read(inputs)
        while batch := list(itertools.islice(examples, BATCH_IMAGES)):
            rows = []
            for example in batch:
                counts["in"] += 1
                if not example.key or example.key in keys:
                    raise InputError(f"{inputs[0].url}: the key {example.key!r} is empty or occurs twice")
                keys.add(example.key)
                digest.update(example.key.encode() + b"\0" + hashlib.sha256(example.data).digest())
                try:
                    rows.append([config.name, *_row(example, config.crop)])
                    counts["kept"] += 1
                except InputError:
                    counts["dropped.undecodable"] += 1
            if rows:
                writer.write_table(pa.table(list(map(list, zip(*rows, strict=True))), schema=INDEX))
        writer.add_key_value_metadata({SET_DIGEST: digest.hexdigest().encode()})
    return counts


INDEX_STAGE: Stage[IndexConfig] = Stage("overlap_index", 3, build)


def set_digest(urls: list[str]) -> str:
    """The sha256 of a whole set, over its parts' digests of keys and bytes, in order: it differs where any key or byte
    does."""
    parts = []
    for url in urls:
        with open_parquet(url) as parquet:
            parts.append(parquet.metadata.metadata[SET_DIGEST])
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _row(example: EvalExample, crop: float) -> list[object]:
    """The columns of INDEX behind the set's name. Raises InputError where the image cannot be decoded."""
    digests = [hashlib.sha256(example.data).hexdigest(), pixels_sha256(example.data)]
    image = decode_small(example.data)
    prints = Fingerprints.of(views_of(image, crop))
    words = [
        word.tobytes() for word in (prints.hash64, prints.reliable64, prints.hash256, prints.reliable256, prints.colors)
    ]
    small = shown(decode_reduced(example.data, SHOWN_PX))
    return [example.key, example.label, *digests, float(prints.contrast[0]), *words, small]


def views_of(image: U8, crop: float) -> list[U8]:
    """The thumbnails of the decoded image: whole, and with every choice of sides cut by that share."""
    height, width = image.shape[:2]
    shares = [(0.0, crop)] * 4 if crop else [(0.0,)] * 4
    return [
        thumbnail(image[round(top * height) : height - round(bottom * height), left : width - right])
        for top, bottom, left_share, right_share in itertools.product(*shares)
        for left, right in [(round(left_share * width), round(right_share * width))]
    ]
