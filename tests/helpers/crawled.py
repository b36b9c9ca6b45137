"""Shards, evaluation sets and work folders as the crawl would have left them, made for a test."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.schemas import CAPTIONS
from openwit import manifest as manifests
from openwit import storage
from openwit.executors.attempt import Failure, run_attempt
from openwit.manifest import Manifest, Part, PartFile
from openwit.shards.notes import pair_uid

T = TypeVar("T")
R = TypeVar("R")

ROWS = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("captions", CAPTIONS),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),
    ]
)


class InThisProcess:
    """An executor without workers."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R | Failure]]:
        """See openwit.executors.executor.Executor.map."""
        return ((task, run_attempt(function, task)) for task in tasks)


def scene(seed: int, size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8: smooth patches of colour; two seeds have nothing in common."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def png(image: np.ndarray) -> bytes:
    """The image, losslessly encoded."""
    return cv2.imencode(".png", image)[1].tobytes()


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """The image as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def altered(image: np.ndarray, crop: float = 0.03) -> np.ndarray:
    """A copy with `crop` of its width lost at the left and the top, and two thirds of the size."""
    cut = round(len(image) * crop)
    side = len(image) * 2 // 3
    return cv2.resize(image[cut:, cut:], (side, side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Fetched:
    """One image of a shard, or a failure where there is none."""

    url: str
    data: bytes | None
    captions: Sequence[str] = ("an image",)
    raw: bytes | None = None  # as fetched, where it was resized
    error: str = "HTTP Error 404: Not Found"
    size: tuple[int, int] = (96, 96)


@dataclass
class ShardWriter:
    """Writes shards and their manifest into a folder."""

    folder: Path
    parts: list[Part] = field(default_factory=list)

    def add(self, samples: Sequence[Fetched]) -> None:
        """One more shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        index = len(self.parts)
        rows = [_row(f"{index:05d}{place:04d}", sample) for place, sample in enumerate(samples)]
        with tarfile.open(self.folder / f"{index:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row, sample in zip(rows, samples, strict=True):
                if sample.data is not None:
                    _add(tar, f"{row['key']}.jpg", sample.data)
                    _add(tar, f"{row['key']}.json", json.dumps(row).encode())
                    _add(tar, f"{row['key']}.txt", sample.captions[0].encode())
        pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), self.folder / f"{index:05d}.parquet")
        kept = sum(sample.data is not None for sample in samples)
        counts = {"in": len(samples), "kept": kept, "dropped.http_404": len(samples) - kept}
        names = [f"{index:05d}.parquet", f"{index:05d}.tar"]
        self.parts.append(part(self.folder, index, names, counts))

    def finish(self) -> None:
        """The manifest."""
        write_manifest(self.folder, "crawl", self.parts)


def part(folder: Path, index: int, names: Sequence[str], counts: Mapping[str, int]) -> Part:
    """A finished partition of these files."""
    files = tuple(
        PartFile(name=name, bytes=(folder / name).stat().st_size, sha256=storage.sha256(folder / name))
        for name in names
    )
    return Part(index=index, key=f"{index}", rows=counts["kept"], files=files, counts=dict(counts))


def write_manifest(folder: Path, stage: str, parts: Sequence[Part]) -> None:
    """The manifest of a stage's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    manifests.write(
        str(folder), Manifest(stage=stage, version=1, config={}, inputs={}, parts=tuple(parts), recipe="tiny")
    )


def write_shards(folder: Path, shards: Sequence[Sequence[Fetched]]) -> None:
    """All shards of a data set and their manifest."""
    writer = ShardWriter(folder)
    for samples in shards:
        writer.add(samples)
    writer.finish()


def write_eval_set(path: Path, images: Mapping[str, bytes]) -> Path:
    """An evaluation set: key → encoded image; the label is the key in capitals."""
    table = pa.table(
        {
            "key": list(images),
            "image": pa.array(list(images.values()), pa.binary()),
            "label": [key.upper() for key in images],
        }
    )
    pq.write_table(table, path)
    return path


def _row(key: str, sample: Fetched) -> dict[str, object]:
    captions = [
        {
            "uid": pair_uid(sample.url, text),
            "caption": text,
            "page_url": "http://page.test/",
            "query_ids": [0],
            "selected_by": [0],
        }
        for text in sample.captions
    ]
    fetched = sample.data is not None
    width, height = sample.size if fetched else (None, None)
    return {
        "uid": captions[0]["uid"],
        "url": sample.url,
        "caption": sample.captions[0],
        "captions": captions,
        "key": key,
        "status": "success" if fetched else "failed_to_download",
        "error_message": None if fetched else sample.error,
        "width": width,
        "height": height,
        "original_width": width,
        "original_height": height,
        "sha256": hashlib.sha256(sample.raw or sample.data or b"").hexdigest() if fetched else None,
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))
