"""All evaluation sets as one index of plain arrays, which the workers of a machine map into memory together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import faiss
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datagen.duplicates.config import MergeConfig
from datagen.duplicates.fingerprints import F32
from datagen.duplicates.index.fingerprint import WORDS
from datagen.duplicates.index.hamming_kernel import shared_bits
from openwit.errors import InputError
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import read_table

WIDTHS = {"hash64": 1, "reliable64": 1, "hash256": 4, "reliable256": 4}
ROWS = ("eval_set", "eval_key", "sha256", "pixels")
DIGESTS = ("sha256", "pixels")
FOUND_SHARE = 0.999  # of the neighbours that an inverted file must find
PROBES = 2000  # vectors by which that is measured
TRAINED = 64  # vectors a list of the inverted file, at least 39 wanted by faiss
SEED = 0

Array = npt.NDArray[Any]


def merge(config: MergeConfig, source: Source, target: Target) -> Counts:
    """Writes the arrays of all parts: rows in Arrow's format, hashes and colours of the views, sorted digests, and of
    a detector the vectors and their faiss index. Raises InputError where a set has one key twice."""
    wanted = [*ROWS, "contrast", *WORDS, "colors"]
    table = pa.concat_tables([read_table(url, wanted) for url in source.urls("index")]).combine_chunks()
    _check_keys(table)
    rows = table.select(ROWS)
    with pa.OSFile(str(target.path(".arrow")), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)
    arrays = {**_hashes(table), **_digests(table)}
    notes: dict[str, object] = {"images": len(table), "views": len(arrays["hash64"])}
    if "vectors" in source.inputs:
        vectors = _vectors(table, source.urls("vectors"))
        index, notes["vectors"] = build_vector_index(vectors, config)
        faiss.write_index(index, str(target.path(".faiss")))
        arrays["vectors"] = vectors
    for name, array in arrays.items():
        np.save(target.path(f".{name}.npy"), np.ascontiguousarray(array))
    target.note("_stats.json").write_bytes(msgspec.json.encode(notes))
    return Counter({"in": len(table), "kept": len(table)})


MERGE_STAGE: Stage[MergeConfig] = Stage("overlap_search", 2, merge)


def build_vector_index(vectors: F32, config: MergeConfig) -> tuple[faiss.Index, dict[str, object]]:
    """An exact index, or an inverted file that visits as many lists as it needs to find 99.9% of the neighbours down
    to the least score; and what it is, with the share measured."""
    faiss.omp_set_num_threads(1)  # k-means would differ by the number of threads
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    if len(vectors) <= config.exact_vectors:
        return exact, {"kind": "flat", "number": len(vectors)}
    lists = min(int(4 * np.sqrt(len(vectors))), len(vectors) // TRAINED) or 1
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    probes = _probes(vectors, config.least_score)
    truth = set(_neighbours(exact, probes, config.least_score))
    for index.nprobe in _doubling(lists):
        found = len(truth & set(_neighbours(index, probes, config.least_score))) / max(1, len(truth))
        if found >= FOUND_SHARE:
            break
    return index, {
        "kind": "ivf", "number": len(vectors), "lists": lists, "nprobe": index.nprobe, "recall": round(found, 5)
    }  # fmt: skip


def _hashes(table: pa.Table) -> dict[str, Array]:
    """Of all views one behind the other hashes, reliable bits and colours; of each image contrast, the first
    view's hashes, and the bits that all its views share."""
    arrays: dict[str, Array] = {}
    for name, width in WIDTHS.items():
        arrays[name] = np.frombuffer(b"".join(table[name].to_pylist()), np.uint64).reshape(-1, width)
    views = max(1, len(arrays["hash64"]) // max(1, len(table)))
    for bits in ("64", "256"):
        arrays[f"shared{bits}"] = shared_bits(arrays[f"hash{bits}"], arrays[f"reliable{bits}"], views)
        arrays[f"first{bits}"] = arrays[f"hash{bits}"][::views]
    arrays["colors"] = np.frombuffer(b"".join(table["colors"].to_pylist()), np.uint8).reshape(-1, 32)
    arrays["contrast"] = table["contrast"].to_numpy().astype(np.float32)
    return arrays


def _digests(table: pa.Table) -> dict[str, Array]:
    """Of each kind of digest the first 64 bits, sorted, and the rows that they belong to."""
    arrays: dict[str, Array] = {}
    for name in DIGESTS:
        prefixes = np.array([int(digest[:16], 16) for digest in table[name].to_pylist()], np.uint64)
        order = np.argsort(prefixes, kind="stable")
        arrays[name], arrays[f"{name}_row"] = prefixes[order], order
    return arrays


def _check_keys(table: pa.Table) -> None:
    twice = table.group_by(["eval_set", "eval_key"]).aggregate([([], "count_all")])
    for row in twice.filter(pc.greater(twice["count_all"], 1)).slice(0, 1).to_pylist():
        name, key = row["eval_set"], row["eval_key"]
        raise InputError(f"evaluation set {name}: the key {key!r} occurs twice; keys must differ")


def _vectors(table: pa.Table, urls: list[str]) -> F32:
    """One a row of the table; zeros, which are near nothing, where there is none."""
    made = pa.concat_tables([read_table(url) for url in urls])
    names = zip(made["eval_set"].to_pylist(), made["eval_key"].to_pylist(), strict=True)
    words = dict(zip(names, made["vector"].to_pylist(), strict=True))
    empty = bytes(len(next(iter(words.values()), b"")))
    wanted = zip(table["eval_set"].to_pylist(), table["eval_key"].to_pylist(), strict=True)
    return np.stack([np.frombuffer(words.get(name, empty), np.float32) for name in wanted])


def _probes(vectors: F32, score: float) -> F32:
    """Vectors of the set, each moved away from itself so far that the cosine is about halfway from 1 to `score`."""
    draws = np.random.default_rng(SEED)
    chosen = vectors[draws.choice(len(vectors), min(PROBES, len(vectors)), replace=False)]
    noise = draws.normal(size=chosen.shape).astype(np.float32)
    noise -= (noise * chosen).sum(1, keepdims=True) * chosen
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = np.float32((1 + score) / 2)
    moved: F32 = (cosine * chosen + np.sqrt(1 - cosine**2) * noise).astype(np.float32)
    return moved


def _neighbours(index: faiss.Index, queries: F32, score: float) -> Iterator[tuple[int, int]]:
    starts, _, rows = index.range_search(queries, score)
    numbers = np.repeat(np.arange(len(queries)), np.diff(starts.astype(np.int64)).astype(np.int64))
    return zip(numbers.tolist(), rows.tolist(), strict=True)


def _doubling(most: int) -> Iterator[int]:
    number = 1
    while number < most:
        yield number
        number *= 2
    yield most
