"""The evaluation images as a worker sees them: what is near a query by digest, by hash, by the detector's vector."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datagen.duplicates.config import Limits
from datagen.duplicates.fingerprints import F32, Fingerprints
from datagen.duplicates.index.build import DIGESTS
from datagen.duplicates.index.hamming_kernel import find_near, most_of_views
from openwit import storage
from openwit.stage import Input

NEAR_DISTANCE = 0.05  # beyond the 256-bit hash's threshold: pairs that just missed it
NEAR_SCORE = 0.05  # below the detector's
DECIMALS = 4  # of a score: the sums of a network differ in later ones with the batch
NEVER = -1

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ByHash:
    """How a query's hashes and colours compare with the nearest view of an evaluation image."""

    distance64: float
    distance256: float
    color_distance: float


class EvalIndex:
    """All evaluation images, memory-mapped; a row is one of them."""

    def __init__(self, files: Sequence[Input]) -> None:
        paths = [storage.fetched_once(entry.url, entry.identity) for entry in files]
        named = {entry.url.rpartition("/")[2].partition(".")[2]: path for entry, path in zip(files, paths, strict=True)}
        self.arrays: dict[str, npt.NDArray[Any]] = {
            name.removesuffix(".npy"): np.load(path, mmap_mode="r")
            for name, path in named.items()
            if name.endswith(".npy")
        }
        self.rows: pa.Table = pa.ipc.open_file(pa.memory_map(str(named["arrow"]))).read_all()
        self.views = len(self.arrays["hash64"]) // max(1, len(self.rows))
        self.vectors: faiss.Index | None = None
        if "faiss" in named:
            faiss.omp_set_num_threads(1)
            self.vectors = faiss.read_index(str(named["faiss"]), faiss.IO_FLAG_MMAP_IFC)

    def same(self, column: str, digest: str) -> list[int]:
        """The rows with that sha256 of bytes (column "sha256") or of pixels ("pixels")."""
        assert column in DIGESTS
        prefix = np.uint64(int(digest[:16], 16))
        first, last = (int(np.searchsorted(self.arrays[column], prefix, side)) for side in ("left", "right"))
        rows = self.arrays[f"{column}_row"][first:last].tolist()
        return [row for row in rows if self.rows[column][row].as_py() == digest]

    def scores(self, vectors: F32, rows: Sequence[int]) -> F32:
        """The cosines (N,) of vectors (N, D) with those of as many rows."""
        products = np.einsum("nd,nd->n", vectors, self.arrays["vectors"][list(rows)])
        return np.asarray(np.round(products, DECIMALS), np.float32)


class Finder:
    """An index with the thresholds of each set."""

    def __init__(self, index: EvalIndex, limits: Sequence[Limits]) -> None:
        self.index, self.limits = index, {entry.name: entry for entry in limits}
        arrays, views = index.arrays, index.views
        names = pa.array([entry.name for entry in limits])
        self.set_of = np.asarray(pc.index_in(index.rows["eval_set"], value_set=names).to_numpy(), np.int64)
        self.min_contrast = min(entry.min_contrast for entry in limits)
        bits64, bits256 = (
            np.bitwise_count(arrays[name]).sum(1, dtype=np.int16) for name in ("reliable64", "reliable256")
        )
        far64 = self._of_rows([entry.max_distance64 for entry in limits])
        far256 = self._of_rows([entry.max_distance256 + NEAR_DISTANCE for entry in limits])
        flat = arrays["contrast"] < self._of_rows([entry.min_contrast for entry in limits])
        most64 = _most(bits64, np.repeat(far64, views), np.repeat(flat, views))
        most256 = _most(bits256, np.repeat(far256, views), np.repeat(flat, views))
        self._most, self._bits = (most64, most256), (bits64, bits256)
        self._firsts = (
            np.array(arrays["first64"][:, 0]), np.array(arrays["shared64"][:, 0]), most_of_views(most64, views),
            np.array(arrays["first256"]), np.array(arrays["shared256"]), most_of_views(most256, views),
        )  # fmt: skip
        self._least_score = min(entry.min_score for entry in limits) - NEAR_SCORE

    def _of_rows(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        return np.array(values, np.float64)[self.set_of]

    def near_by_hash(self, prints: Fingerprints) -> tuple[dict[tuple[int, int], ByHash], int]:
        """Of each (query, row) whose hashes are near, or just not near enough, how its best view compares; and how many
        pairs of query and image a first look at 64 bits let through."""
        asked = np.flatnonzero(prints.contrast >= self.min_contrast)
        arrays = self.index.arrays
        words = (arrays["hash64"], arrays["reliable64"], arrays["hash256"], arrays["reliable256"])
        queries = (prints.hash64[asked], prints.hash256[asked])
        found = np.empty((1024, 4), np.int64)
        while True:
            number, looked = find_near(queries, words, self._most, self._firsts, found)
            if number <= len(found):
                break
            found = np.empty((number, 4), np.int64)
        found = found[:number]
        return self._best_views(prints, asked[found[:, 0]], found), looked

    def _best_views(self, prints: Fingerprints, queries: I64, found: I64) -> dict[tuple[int, int], ByHash]:
        views = found[:, 1]
        near64 = found[:, 2] / np.maximum(self._bits[0][views], 1)
        near256 = found[:, 3] / np.maximum(self._bits[1][views], 1)
        color = np.abs(prints.colors[queries].astype(np.int16) - self.index.arrays["colors"][views]).mean(axis=1)
        rows = views // self.index.views
        far = color > np.array([entry.max_color_distance for entry in self.limits.values()])[self.set_of[rows]]
        order = np.lexsort((views, color, near64, near256, far, rows, queries))
        best: dict[tuple[int, int], ByHash] = {}
        for at in order.tolist():
            pair = (int(queries[at]), int(rows[at]))
            best.setdefault(pair, ByHash(*(round(float(d[at]), DECIMALS) for d in (near64, near256, color))))
        return best

    def near_by_vector(self, vectors: F32) -> dict[tuple[int, int], float]:
        """The detector's score of each (query, row) that reaches a threshold, or just not."""
        assert self.index.vectors is not None
        if not len(vectors):
            return {}
        starts, scores, rows = self.index.vectors.range_search(vectors, self._least_score)
        queries = np.repeat(np.arange(len(vectors)), np.diff(starts.astype(np.int64)).astype(np.int64))
        rounded = np.round(scores.astype(np.float64), DECIMALS)
        kept = rounded >= np.array([entry.min_score - NEAR_SCORE for entry in self.limits.values()])[self.set_of[rows]]
        pairs = zip(queries[kept].tolist(), rows[kept].tolist(), strict=True)
        return dict(zip(pairs, rounded[kept].tolist(), strict=True))


@functools.lru_cache(maxsize=1)
def open_finder(files: tuple[Input, ...], limits: tuple[Limits, ...]) -> Finder:
    """The index in these files with these thresholds, mapped once a worker."""
    return Finder(EvalIndex(files), limits)


def _most(bits: npt.NDArray[Any], share: npt.NDArray[np.float64], never: npt.NDArray[np.bool_]) -> I16:
    """The most bits that may differ: a share of the reliable ones, none where there are none to compare."""
    most = np.floor(bits * share + 1e-9).astype(np.int16)
    return np.where(never | (bits == 0), NEVER, most).astype(np.int16)
