"""Small data sets of shards with a manifest, made by the floor's own stage machinery."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from openwit import stage as stages
from openwit.log.events import Log
from openwit.manifest import Manifest
from openwit.stage import Input, Source, Stage, Target

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "white", "black")
VALUES = tuple((255 * (n & 1), 255 * (n >> 1 & 1), 255 * (n >> 2)) for n in (1, 2, 4, 3, 6, 5, 7, 0))
PLACES = ("left", "right", "top", "bottom")


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """What `write_shards` makes."""

    samples: tuple[int, ...] = (16, 16)  # of each shard
    image_px: int = 32  # longer side of each image


class InThisProcess:
    """An executor without processes."""

    def map(self, function: Any, tasks: Any) -> Iterator[Any]:
        for task in tasks:
            yield task, function(task)


def write_shards(folder: Path, samples: Sequence[int] = (16, 16), image_px: int = 32) -> Manifest:
    """Shards of coloured images, each with one to three captions; uid of caption c of key k is `uid_of("<k>-<c>")`."""
    config = ImagesConfig(samples=tuple(samples), image_px=image_px)
    sources = [Source(index=index, inputs={"none": (Input(url="", identity=""),)}) for index in range(len(samples))]
    plan = stages.plan(STAGE, config, sources, str(folder))
    return stages.run(plan, InThisProcess(), Log(stream=io.StringIO()))


def _draw(config: ImagesConfig, source: Source, target: Target) -> Counter[str]:
    index = source.index
    keys = [f"{index:05d}{place:04d}" for place in range(config.samples[index])]
    with tarfile.open(target.path(".tar"), "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, key in enumerate(keys):
            for name, content in sample_files(key, index * 7919 + number, config.image_px).items():
                add_member(tar, f"{key}.{name}", content)
    pq.write_table(pa.table({"key": keys}), target.path(".parquet"))
    return Counter({"in": len(keys), "kept": len(keys)})


STAGE: Stage[ImagesConfig] = Stage("images", 1, _draw)


def uid_of(name: str) -> str:
    """32 hex digits."""
    return hashlib.md5(name.encode()).hexdigest()


def sample_files(key: str, number: int, image_px: int) -> dict[str, bytes]:
    """The three files of a sample in img2dataset's layout."""
    colour, ground, place = number % 8, number // 8 % 8, number // 64 % 4
    text = f"{COLOURS[colour]} on {COLOURS[ground]}, {PLACES[place]}"
    captions = [{"uid": uid_of(f"{key}-{c}"), "caption": f"{text} ({c})"} for c in range(1 + number % 3)]
    pixels = np.empty((image_px * 3 // 4, image_px, 3), np.uint8)
    pixels[:] = VALUES[ground]
    half = image_px // 3
    box = {"left": np.s_[:, :half], "right": np.s_[:, -half:], "top": np.s_[:half], "bottom": np.s_[-half:]}
    pixels[box[PLACES[place]]] = VALUES[colour]  # type: ignore[call-overload]
    notes = {"uid": captions[0]["uid"], "captions": captions, "key": key, "status": "success", "width": image_px}
    return {"jpg": jpeg(pixels), "json": json.dumps(notes).encode(), "txt": captions[0]["caption"].encode()}


def jpeg(pixels: np.ndarray) -> bytes:
    """The image [H, W, 3] as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Appends a file to the tar."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


@contextmanager
def rewritten(tar_path: Path) -> Iterator[dict[str, bytes]]:
    """The tar's members by name; changes made to them within the context are written back."""
    with tarfile.open(tar_path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    yield members
    with tarfile.open(tar_path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            add_member(tar, name, content)


def write_exclusions(path: Path, uids: Sequence[str]) -> str:
    """A file like dedup-check's, uids being the "<k>-<c>" of `write_shards`; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [uid_of(f"{uid.partition('-')[0]}-0") for uid in uids]
    reasons = ["overlap"] * len(uids)
    pq.write_table(pa.table({"uid": list(map(uid_of, uids)), "reason": reasons, "image": images}), path)
    return str(path)
