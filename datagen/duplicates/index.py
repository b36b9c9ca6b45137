"""The index of the evaluation pictures: one file a set, small enough that each worker holds all of them.

A shard's copy may be cropped a little, which hashes do not forgive. So each evaluation picture stands in the index in
16 views, with and without a strip cut off each side; the shards' pictures, of which there are far more, have one.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import IndexConfig
from datagen.duplicates.hashes import U8, U64, Fingerprints, decode, distance, shown, thumbnail
from openwit import storage
from openwit.errors import InputError
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table

EVAL_SET_COLUMNS = ("key", "image", "label")
TABLE_CELLS = 1 << 22  # pairs of hashes compared at once: 32 MB
WORDS = ("hash64", "firm64", "hash256", "firm256")

INDEX = pa.schema(
    [
        ("eval_set", pa.string()),
        ("eval_key", pa.string()),
        ("label", pa.string()),
        ("sha256", pa.string()),
        ("contrast", pa.float32()),  # of the whole picture
        *[(name, pa.binary()) for name in WORDS],  # of all views, one behind the other
        ("colors", pa.binary()),
        ("shown", pa.binary()),  # a small JPEG for the report
    ]
)
NOT_SEARCHED = ("shown",)


def build(config: IndexConfig, source: Source, target: Target) -> Counts:
    """Writes one evaluation set's index (columns INDEX). Raises InputError where it is no evaluation set."""
    name, url = config.names[source.index], source.url("eval_set")
    counts: Counts = Counter({"in": 0, "kept": 0})
    keys: set[str] = set()
    with pq.ParquetWriter(target.path(".parquet"), INDEX, compression="zstd") as writer:
        for batch in read_eval_set(url):
            rows = []
            for key, data, label in zip(*batch.columns, strict=True):
                counts["in"] += 1
                if not key.as_py() or key.as_py() in keys:
                    raise InputError(f"{url}: the key {key.as_py()!r} is empty or occurs twice; keys must differ")
                keys.add(key.as_py())
                try:
                    picture = decode(data.as_py() or b"")
                except InputError:
                    counts["dropped.undecodable"] += 1
                    continue
                counts["kept"] += 1
                digest = hashlib.sha256(data.as_py()).hexdigest()
                rows.append([name, key.as_py(), label.as_py(), digest, *_hashes(picture, config.crop), shown(picture)])
            if rows:
                writer.write_table(pa.table(list(map(list, zip(*rows, strict=True))), schema=INDEX))
    if not counts["kept"]:
        raise InputError(f"{url}: evaluation set {name} holds no picture that can be decoded ({counts['in']} rows)")
    return counts


INDEX_STAGE: Stage[IndexConfig] = Stage("overlap_index", 1, build)


def read_eval_set(url: str) -> Iterator[pa.RecordBatch]:
    """The rows of an evaluation set: key string, image binary, label string. Raises InputError for other files."""
    with storage.open_input(url) as file:
        try:
            parquet = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise InputError(f"{url}: an evaluation set must be a parquet file ({error})") from None
        missing = [name for name in EVAL_SET_COLUMNS if name not in parquet.schema_arrow.names]
        if missing:
            found = ", ".join(parquet.schema_arrow.names)
            raise InputError(f"{url}: an evaluation set has columns key, image, label; found only {found}")
        if not pa.types.is_binary(parquet.schema_arrow.field("image").type):
            found = parquet.schema_arrow.field("image").type
            raise InputError(f"{url}: the column image must hold encoded pictures (binary), not {found}")
        for batch in parquet.iter_batches(batch_size=64, columns=list(EVAL_SET_COLUMNS)):
            columns = [batch.column("key").cast(pa.string()), batch.column("image"), batch.column("label")]
            columns[2] = columns[2].cast(pa.string())
            yield pa.RecordBatch.from_arrays(columns, names=list(EVAL_SET_COLUMNS))


def _hashes(picture: U8, crop: float) -> tuple[float, bytes, bytes, bytes, bytes, bytes]:
    """Contrast, hashes and colours of a picture's views, as columns of INDEX."""
    height, width = picture.shape[:2]
    shares = [(0.0, crop)] * 4 if crop else [(0.0,)] * 4
    views = [
        thumbnail(picture[round(top * height) : height - round(bottom * height), left : width - right])
        for top, bottom, left_share, right_share in itertools.product(*shares)
        for left, right in [(round(left_share * width), round(right_share * width))]
    ]
    prints = Fingerprints.of(views)
    words = (prints.hash64, prints.firm64, prints.hash256, prints.firm256)
    a, b, c, d = (word.tobytes() for word in words)
    return float(prints.contrast[0]), a, b, c, d, prints.colors.tobytes()


@dataclass(frozen=True)
class Match:
    """One picture of the shards (its place among those asked for) that is one of the evaluation pictures."""

    query: int
    eval_set: str
    eval_key: str
    reason: str  # sha256 or phash
    score: float  # the share of firm bits that agree; 1 by sha256


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What still counts as the same picture; see OverlapConfig."""

    max_distance64: float
    max_distance256: float
    max_color_distance: float
    min_contrast: float


class Index:
    """All evaluation pictures, ready to be compared with."""

    def __init__(self, table: pa.Table) -> None:
        self.sets: list[str] = table["eval_set"].to_pylist()
        self.keys: list[str] = table["eval_key"].to_pylist()
        self.by_sha256: dict[str, list[int]] = defaultdict(list)
        for row, sha256 in enumerate(table["sha256"].to_pylist()):
            self.by_sha256[sha256].append(row)
        columns = {name: b"".join(table[name].to_pylist()) for name in (*WORDS, "colors")}
        self.hash64, self.firm64 = (_u64(columns[name], 1) for name in ("hash64", "firm64"))
        self.hash256, self.firm256 = (_u64(columns[name], 4) for name in ("hash256", "firm256"))
        self.colors = np.frombuffer(columns["colors"], np.uint8).reshape(len(self.hash64), -1)
        contrast = np.asarray(table["contrast"].to_numpy(), np.float32)
        views = len(self.hash64) // max(len(self.keys), 1)
        self.row = np.repeat(np.arange(len(self.keys)), views)  # of each view
        self.contrast = np.repeat(contrast, views)

    def search(self, prints: Fingerprints, sha256s: Sequence[set[str]], limits: Limits) -> list[Match]:
        """Every evaluation picture that each of N pictures is, in their order; `sha256s` are the digests by which
        a picture is known (of the bytes as fetched and as stored)."""
        found: dict[tuple[int, int], tuple[str, float]] = {}
        for query, row, agreeing in self._alike(prints, limits):
            before = found.get((query, row), ("phash", 0.0))
            found[query, row] = ("phash", max(before[1], agreeing))
        for query, digests in enumerate(sha256s):
            for digest in digests:
                found.update({(query, row): ("sha256", 1.0) for row in self.by_sha256.get(digest, ())})
        return [
            Match(query, self.sets[row], self.keys[row], reason, score)
            for (query, row), (reason, score) in sorted(found.items())
        ]

    def _alike(self, prints: Fingerprints, limits: Limits) -> Iterator[tuple[int, int, float]]:
        """(query, row, share of agreeing bits) of views that no hash and no colour tells from the query."""
        step = max(1, TABLE_CELLS // max(len(self.row), 1))
        structured = self.contrast >= limits.min_contrast
        for start in range(0, len(prints), step):
            part = slice(start, start + step)
            near = distance(prints.hash64[part, None], self.hash64, self.firm64) <= limits.max_distance64
            near &= structured & (prints.contrast[part, None] >= limits.min_contrast)
            queries, views = np.nonzero(near)
            queries += start
            apart = distance(prints.hash256[queries], self.hash256[views], self.firm256[views])
            color = np.abs(prints.colors[queries].astype(np.int16) - self.colors[views]).mean(axis=1)
            same = (apart <= limits.max_distance256) & (color <= limits.max_color_distance)
            scores = np.round(1 - apart[same].astype(np.float64), 4).tolist()
            yield from zip(queries[same].tolist(), self.row[views[same]].tolist(), scores, strict=True)


def _u64(data: bytes, words: int) -> U64:
    return np.frombuffer(data, np.uint64).reshape(-1, words)


@functools.lru_cache(maxsize=1)
def load_index(files: tuple[tuple[str, str], ...]) -> Index:
    """The index that these files (url, identity) hold together, read once a worker."""
    wanted = [name for name in INDEX.names if name not in NOT_SEARCHED]
    return Index(pa.concat_tables([read_table(url, wanted) for url, _ in files]))
