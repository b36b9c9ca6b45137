"""Thresholds for each set and stage from the user's own shards: `openwit calibrate`.

Copies are made of each set's images by the detector's augmentations and scored with their originals. Others are
images drawn from the shards, each scored with the evaluation image that it is nearest to. Those that one stage
knows as copies are no others for the next: images of the same bytes or pixels, or nearer by the 256-bit hash than any
two different images are, count for none; what the hashes match by the config's thresholds is none of the detector's
others, and what the detector finds next to equal none of the hashes'. calibration.py makes thresholds of the scores.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.config import CalibrateConfig, CopiesConfig, OthersConfig, OverlapConfig
from datagen.duplicates.embed import Embedder, made_copy, open_embedder
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.fingerprints import F32, Fingerprints, decode_small, distance, pixels_sha256, thumbnail
from datagen.duplicates.index.fingerprint import views_of
from datagen.duplicates.index.hamming_kernel import nearest256
from datagen.duplicates.index.query import Finder, open_finder
from datagen.duplicates.overlap.check import IndexedSet, index_sets, merge_sets, read_shards, shard_sources
from datagen.duplicates.overlap.thresholds import CALIBRATION, Calibration, Nearest, SetCalibration, choose
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.shards.samples import StoredImage, read_images
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.tables import read_table

SURE_DISTANCE = 0.04  # of the 256-bit hash: nearer images are copies (OverlapConfig tells the experiment)
SURE_SCORE = 0.95  # of the detector: higher ones are copies
SHOWN_NEAREST = 20  # of a set and stage
BATCH_IMAGES = 256
ASSUMED = (
    "copies come as by the detector's augmentations; the share of copies among the shards' images is the prevalence;"
    " sampled images are no copies, but those that another stage knows; beyond the sample's 98th percentile false"
    " alarms fall no faster than exponentially"
)
COPIES = pa.schema([("phash", pa.float64()), ("detector", pa.float64())])
OTHERS = pa.schema(
    [
        ("key", pa.string()),
        ("eval_set", pa.string()),
        ("stage", pa.string()),
        ("eval_key", pa.string()),  # the nearest by that stage
        ("score", pa.float64()),
        ("known", pa.bool_()),  # as a copy, by another stage
    ]
)


def calibrate(run: Run, config: OverlapConfig, wanted: CalibrateConfig) -> Calibration:
    """Chooses the thresholds and publishes duplicates/calibration.json, which the overlap check then uses.

    Raises ConfigError where no set is named, InputError where a set or the shards are missing.
    """
    shards = read_shards(run, config)
    sets = index_sets(run, config)
    index = merge_sets(run, config, sets, config.min_score)
    chosen, share = _draw_shards(shards, wanted)
    sources = [s for s in shard_sources(run, shards, config, index) if s.index in chosen]
    limits = config.limits({})
    sampling = OthersConfig(limits=limits, share=share, seed=wanted.seed, device=config.device)
    folder = run.folder("duplicates", "calibration", "others")
    made = run.stage(OTHERS_STAGE, sampling, sources, folder)
    others = pa.concat_tables([read_table(storage.join(folder, p.file(".parquet").name)) for p in made.parts])
    detector = sources[0].inputs.get("detector", ())
    found = [_calibrate_set(run, config, wanted, (entry, detector), others) for entry in sets]
    identity = detector[0].identity if detector else ""
    result = Calibration(config=wanted, detector=identity, shards=shards.digest, assumed=ASSUMED, sets=found)
    text = msgspec.json.format(msgspec.json.encode(result), indent=2)
    storage.write_bytes(run.folder("duplicates", CALIBRATION), text + b"\n")
    return result


def _calibrate_set(
    run: Run,
    config: OverlapConfig,
    wanted: CalibrateConfig,
    given: tuple[IndexedSet, tuple[Input, ...]],
    others: pa.Table,
) -> SetCalibration:
    entry, detector = given
    folder = run.folder("duplicates", "calibration", "copies", entry.name)
    each = -(-wanted.copies // len(entry.parts))
    copying = CopiesConfig(crop=config.crop, images=each, seed=wanted.seed, device=config.device)
    inputs = [{"eval_set": part, **({"detector": detector} if detector else {})} for part in entry.parts]
    made = run.stage(COPIES_STAGE, copying, [Source(index=i, inputs=e) for i, e in enumerate(inputs)], folder)
    copies = pa.concat_tables([read_table(storage.join(folder, p.file(".parquet").name)) for p in made.parts])
    stages, nearest = {}, []
    for stage in ("phash", "detector") if detector else ("phash",):
        of_stage = pc.and_(pc.equal(others["eval_set"], entry.name), pc.equal(others["stage"], stage))
        own = others.filter(of_stage)
        unknown = own.filter(pc.invert(own["known"])).to_pylist()
        scores = np.array([r["score"] for r in unknown], np.float64)
        true = np.asarray(copies[stage].to_numpy(), np.float64)
        stages[stage] = choose(stage, true, scores, len(own) - len(unknown), wanted)
        first = sorted(unknown, key=lambda r: (-r["score"], r["key"]))[:SHOWN_NEAREST]
        nearest += [Nearest(stage=stage, key=r["key"], eval_key=r["eval_key"], score=r["score"]) for r in first]
    return SetCalibration(name=entry.name, sha256=entry.sha256, stages=stages, nearest=nearest)


def score_copies(config: CopiesConfig, source: Source, target: Target) -> Counts:
    """Writes the scores of made copies with their originals (columns COPIES), of images drawn from a partition."""
    embedder = _embedder(source, config.device)
    counts: Counts = Counter({"in": 0, "kept": 0, "dropped.undecodable": 0})
    drawn = heapq.nsmallest(
        config.images, formats.read(source.inputs["eval_set"]), key=lambda e: (_hash01(config.seed, e.key), e.key)
    )
    rows = []
    for example in drawn:
        counts["in"] += 1
        try:
            copy = made_copy(example.data, int(_hash01(config.seed, f"copy {example.key}") * 2**32))
            cosine = _cosine(embedder, example.data, copy) if embedder is not None else None
            rows.append({"phash": _agreement(example.data, copy, config.crop), "detector": cosine})
            counts["kept"] += 1
        except InputError:
            counts["dropped.undecodable"] += 1
    pq.write_table(pa.Table.from_pylist(rows, schema=COPIES), target.path(".parquet"))
    return counts


COPIES_STAGE: Stage[CopiesConfig] = Stage("overlap_copies", 2, score_copies)


def score_others(config: OthersConfig, source: Source, target: Target) -> Counts:
    """Writes for images drawn from a shard, for each set and stage, the nearest evaluation image (columns
    OTHERS)."""
    embedder = _embedder(source, config.device)
    finder = open_finder(source.inputs["index"], config.limits)
    counts: Counts = Counter({"in": 0, "kept": 0, "dropped.undecodable": 0, "rows": 0})
    with pq.ParquetWriter(target.path(".parquet"), OTHERS) as writer:
        drawn = (p for p in read_images(source.url("tar")) if _hash01(config.seed, p.key) < config.share)
        while batch := [image for _, image in zip(range(BATCH_IMAGES), drawn, strict=False)]:
            kept, thumbnails, prepared = [], [], []
            for image in batch:
                counts["in"] += 1
                try:
                    thumbnails.append(thumbnail(decode_small(image.data)))
                    prepared += [embedder.prepare(image.data)] if embedder is not None else []
                    kept.append(image)
                    counts["kept"] += 1
                except InputError:
                    counts["dropped.undecodable"] += 1
            vectors = embedder.embed(prepared) if embedder is not None else None
            rows = _nearest_rows(finder, kept, Fingerprints.of(thumbnails), vectors)
            counts["rows"] += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=OTHERS))
    return counts


OTHERS_STAGE: Stage[OthersConfig] = Stage("overlap_others", 2, score_others)


def _nearest_rows(
    finder: Finder, images: Sequence[StoredImage], prints: Fingerprints, vectors: F32 | None
) -> list[dict[str, object]]:
    """Rows of OTHERS."""
    index, rows = finder.index, []
    names = index.rows["eval_key"]
    exact = [_exact(finder, image) for image in images]
    matched: dict[int, set[int]] = {}
    for (query, row), found in finder.near_by_hash(prints)[0].items():
        limits = finder.limits[index.rows["eval_set"][row].as_py()]
        if found.distance256 <= limits.max_distance256 and found.color_distance <= limits.max_color_distance:
            matched.setdefault(query, set()).add(row)
    for place, name in enumerate(finder.limits):
        own = np.flatnonzero(finder.set_of == place)
        apart, nearest = _nearest_by_hash(finder, prints, own)
        cosines = vectors @ index.arrays["vectors"][own[0] : own[-1] + 1].T if vectors is not None else None
        for query, image in enumerate(images):
            common = {"key": image.key, "eval_set": name}
            known = bool(exact[query] & set(own.tolist())) or apart[query] <= SURE_DISTANCE
            best = int(cosines[query].argmax()) if cosines is not None else 0
            cosine = round(float(cosines[query, best]), 4) if cosines is not None else 0.0
            if nearest[query] >= 0:
                row = int(nearest[query])
                by_detector = cosines is not None and cosines[query, row - own[0]] >= SURE_SCORE
                score = round(1 - float(apart[query]), 4)
                rows.append({**common, "stage": "phash", "eval_key": names[row].as_py(), "score": score,
                             "known": known or bool(by_detector)})  # fmt: skip
            if cosines is not None:
                by_hash = bool(matched.get(query, set()) & set(own.tolist()))
                rows.append({**common, "stage": "detector", "eval_key": names[int(own[best])].as_py(), "score": cosine,
                             "known": known or by_hash})  # fmt: skip
    return rows


def _nearest_by_hash(finder: Finder, prints: Fingerprints, own: np.ndarray) -> tuple[F32, np.ndarray]:
    """Of each image the distance to the nearest row of the set by the 256-bit hash, and that row; 1 and -1 where its
    contrast is too low."""
    arrays, views = finder.index.arrays, finder.index.views
    part = slice(int(own[0]) * views, (int(own[-1]) + 1) * views)
    contrast = np.repeat(arrays["contrast"][own[0] : own[-1] + 1], views)
    apart, view = nearest256(
        prints.hash256, arrays["hash256"][part], arrays["reliable256"][part], contrast, finder.min_contrast
    )
    row = np.where(view >= 0, view // views + own[0], -1)
    flat = prints.contrast < finder.min_contrast
    return np.where(flat, np.float32(1), apart), np.where(flat, -1, row)


def _exact(finder: Finder, image: StoredImage) -> set[int]:
    digests = {hashlib.sha256(image.data).hexdigest(), image.record.sha256} - {""}
    found = {row for digest in digests for row in finder.index.same("sha256", digest)}
    return found | set(finder.index.same("pixels", pixels_sha256(image.data)))


def _agreement(original: bytes, copy: bytes, crop: float) -> float:
    """The share of the 256-bit hash's reliable bits in which the copy agrees with the nearest view of the original."""
    views, one = (
        Fingerprints.of(views_of(decode_small(original), crop)),
        Fingerprints.of([thumbnail(decode_small(copy))]),
    )
    return round(1 - float(distance(views.hash256, one.hash256, views.reliable256).min()), 4)


def _cosine(embedder: Embedder, original: bytes, copy: bytes) -> float:
    vectors = embedder.embed([embedder.prepare(original), embedder.prepare(copy)])
    return round(float(vectors[0] @ vectors[1]), 4)


def _embedder(source: Source, device: str) -> Embedder | None:
    if "detector" not in source.inputs:
        return None
    detector = source.input("detector")
    return open_embedder(detector.url, detector.identity, device)


def _draw_shards(shards: Manifest, wanted: CalibrateConfig) -> tuple[set[int], float]:
    """Shards at random until they hold enough images, and the share of theirs that is sampled."""
    chosen: set[int] = set()
    number = 0
    for part in sorted(shards.parts, key=lambda part: _hash01(wanted.seed, f"shard {part.index}")):
        if number >= wanted.images:
            break
        chosen.add(part.index)
        number += part.rows
    if not number:
        raise InputError("shards/ holds no images to calibrate with; run build-dataset")
    return chosen, min(1.0, wanted.images / number)


def _hash01(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=7).digest()) / 2**56
