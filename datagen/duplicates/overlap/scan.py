"""Streams a shard's images past the index of the evaluation images and writes those that it knows."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import REASONS, SearchConfig
from datagen.duplicates.embed import Embedder, open_embedder
from datagen.duplicates.fingerprints import SHOWN_PX, Fingerprints, decode_small, shown, thumbnail
from datagen.duplicates.index.query import Finder, open_finder
from datagen.duplicates.overlap.cascade import Match, decide, same_images, same_pixels
from datagen.shards.rows import ShardImages, table_rows
from openwit import storage
from openwit.errors import InputError
from openwit.images import decode_reduced
from openwit.images.header import U8
from openwit.manifest import Manifest
from openwit.shards.samples import StoredImage
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import read_table

SECONDS = ("read", "decode", "hash", "lookup", "embed", "search", "write")

OVERLAP = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("eval_set", pa.string()),
        ("eval_key", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),  # of that stage of the cascade
        ("distance64", pa.float32()),  # of the hashes, as a share of reliable bits; null where these were not compared
        ("distance256", pa.float32()),
        ("color_distance", pa.float32()),
        ("detector", pa.float32()),  # its score, a cosine; null without a detector
        ("uids", pa.list_(pa.string())),  # of all pairs that show the image
        ("url", pa.string()),
        ("caption", pa.string()),
        ("shown", pa.binary()),  # a small JPEG for the report
    ]
)


@dataclass
class ScanTimer:
    """Where the seconds go."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS, 0.0))

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Counts the time inside to `what`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - started


@dataclass(frozen=True)
class Checker:
    """What a worker needs to check images."""

    finder: Finder
    embedder: Embedder | None
    clock: ScanTimer = field(default_factory=ScanTimer)
    counts: Counts = field(default_factory=Counter)  # pairs that each stage let through

    def check(self, images: Sequence[StoredImage], thumbnails: Sequence[U8], prepared: Sequence[U8]) -> list[Match]:
        """The pairs of these images, near misses among them."""
        clock, finder = self.clock, self.finder
        with clock("hash"):
            prints = Fingerprints.of(thumbnails)
            digests = [{hashlib.sha256(p.data).hexdigest(), p.record.sha256} for p in images]
        with clock("lookup"):
            hashed, looked = finder.near_by_hash(prints)
            exact = (
                same_images(finder, digests),
                same_pixels(finder, [image.data for image in images], prints, hashed),
            )
        with clock("embed"):
            vectors = self.embedder.embed(prepared) if self.embedder is not None else None
        with clock("search"):
            detected = finder.near_by_vector(vectors) if vectors is not None else {}
            matches = list(decide(finder, exact, hashed, detected, vectors))
        self.counts.update(
            {"candidates.hash64": looked, "candidates.phash": len(hashed), "candidates.detector": len(detected)}
        )
        return matches


def process(config: SearchConfig, source: Source, target: Target) -> Counts:
    """Writes a row for each evaluation image that each of the shard's images is (columns OVERLAP), and into
    NNNNN_near.parquet the pairs that just missed a threshold.

    Counts images: `kept` are in no evaluation set, `dropped.overlap_<reason>` are in one, `dropped.undecodable`
    cannot be read, and others are dropped by the reason for which their sample cannot be used. Nothing is taken out of
    the shard. NNNNN_stats.json says how long each stage of the cascade took. Raises InputError where tar and table tell
    of other images.
    """
    embedder = None
    if "detector" in source.inputs:
        detector = source.input("detector")
        embedder = open_embedder(detector.url, detector.identity, config.device)
    checker = Checker(open_finder(source.inputs["index"], config.limits), embedder)
    clock = checker.clock
    counts: Counts = Counter({"in": 0, "kept": 0, "rows": 0, "dropped.undecodable": 0})
    counts.update({f"dropped.overlap_{reason}": 0 for reason in REASONS})
    near = NearMisses(config.near_pairs)
    with pq.ParquetWriter(target.path(".parquet"), OVERLAP, compression="zstd") as writer:
        rows = table_rows(source.url("parquet"), read_table(source.url("parquet")), ("key", "status"))
        batches = ShardImages(source.url("tar"), rows, counts).batches()
        while True:
            with clock("read"):
                batch = [image for _, image in next(batches, [])]
            if not batch:
                break
            with clock("decode"):
                images, thumbnails, prepared = _decode(batch, embedder, counts)
            found = checker.check(images, thumbnails, prepared)
            with clock("write"):
                matches = [match for match in found if not match.gap]
                _count(len(images), matches, counts)
                near.add(checker.finder, images, [match for match in found if match.gap])
                if matches:
                    writer.write_table(_table(checker.finder, [(images[m.query], m) for m in matches]))
    pq.write_table(_table(checker.finder, near.nearest()), target.named(f"{target.name}_near.parquet"))
    counts.update(checker.counts)
    seconds = {name: round(value, 4) for name, value in clock.seconds.items()}
    target.note("_stats.json").write_bytes(msgspec.json.encode({"seconds": seconds, "images": counts["in"]}))
    return counts


OVERLAP_STAGE: Stage[SearchConfig] = Stage("overlap", 3, process)


def read_seconds(folder: str, pairs: Manifest) -> dict[str, float]:
    """The seconds that each stage of the cascade took, of all shards together."""
    total: Counter[str] = Counter(dict.fromkeys(SECONDS, 0.0))
    for part in pairs.parts:
        total.update(storage.read_json(storage.join(folder, f"{part.index:05d}_stats.json"))["seconds"])
    return {name: round(total[name], 3) for name in SECONDS}


@dataclass
class NearMisses:
    """The pairs that missed a threshold by the least, at most `most` a set."""

    most: int
    kept: dict[str, list[tuple[StoredImage, Match]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, finder: Finder, images: Sequence[StoredImage], matches: Sequence[Match]) -> None:
        """Takes those that are nearer than what is there."""
        names = list(finder.limits)
        for match in matches:
            self.kept[names[finder.set_of[match.row]]].append((images[match.query], match))
        for name in self.kept:
            self.kept[name] = sorted(self.kept[name], key=lambda p: (p[1].gap, p[0].key, p[1].row))[: self.most]

    def nearest(self) -> list[tuple[StoredImage, Match]]:
        """All of them, set by set."""
        return [pair for name in sorted(self.kept) for pair in self.kept[name]]


def _decode(
    batch: Sequence[StoredImage], embedder: Embedder | None, counts: Counts
) -> tuple[list[StoredImage], list[U8], list[U8]]:
    """The images that can be decoded, their thumbnails, and with a detector what its network takes."""
    images, thumbnails, prepared = [], [], []
    for image in batch:
        try:
            small = thumbnail(decode_small(image.data))
            large = [embedder.prepare(image.data)] if embedder is not None else []
        except InputError:
            counts["dropped.undecodable"] += 1
            continue
        images.append(image)
        thumbnails.append(small)
        prepared += large
    return images, thumbnails, prepared


def _count(number: int, matches: Sequence[Match], counts: Counts) -> None:
    """Each image once, by its surest match."""
    surest: dict[int, int] = {}
    for match in matches:
        reason = REASONS.index(match.reason)
        surest[match.query] = min(reason, surest.get(match.query, reason))
        counts[f"pairs.{match.reason}"] += 1
    counts["kept"] += number - len(surest)
    counts["rows"] += len(matches)
    for reason in surest.values():
        counts[f"dropped.overlap_{REASONS[reason]}"] += 1


def _table(finder: Finder, pairs: Sequence[tuple[StoredImage, Match]]) -> pa.Table:
    places = pa.array([match.row for _, match in pairs], pa.int64())
    names = finder.index.rows.select(["eval_set", "eval_key"]).take(places).to_pylist()
    small = {key: shown(decode_reduced(data, SHOWN_PX)) for key, data in {p.key: p.data for p, _ in pairs}.items()}
    rows = []
    for (image, match), name in zip(pairs, names, strict=True):
        record, by_hash = image.record, match.by_hash
        rows.append(
            {
                "uid": record.captions[0].uid,
                "key": image.key,
                **name,
                "reason": match.reason,
                "score": match.score,
                "distance64": by_hash.distance64 if by_hash else None,
                "distance256": by_hash.distance256 if by_hash else None,
                "color_distance": by_hash.color_distance if by_hash else None,
                "detector": match.detector,
                "uids": record.uids,
                "url": record.url,
                "caption": record.captions[0].caption,
                "shown": small[image.key],
            }
        )
    return pa.Table.from_pylist(rows, schema=OVERLAP)
