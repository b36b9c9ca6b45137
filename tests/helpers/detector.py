"""A tiny duplicate detector, its training jobs, and invented photographs for them."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from helpers.shards import InThisProcess, add_member, jpeg, uid_of
from models.detector.augmentations import copy_of
from models.detector.config import DetectorConfig, DetectorResNetConfig
from models.detector.descriptor import squeeze
from models.detector.detector import Detector
from models.preprocess import normalize_pixels
from openwit import stage as stages
from openwit.config import override
from openwit.log.events import Log
from openwit.manifest import Manifest
from openwit.stage import Input, Source, Stage, Target
from train.config import DetectorTrainingConfig, StreamConfig
from train.job import Job

HARD = ("crop", "rotation", "color")
CONFIG = DetectorTrainingConfig(
    model=DetectorConfig(image_px=32, embed_dim=32, resnet=DetectorResNetConfig(blocks=(1, 1), width=8)),
    stream=StreamConfig(resize_px=40, num_lanes=4, shuffle_window=8, threads=1, cache_decoded_mb=10),
    batch_pairs=40, duration="8 steps", learning_rate=3e-3, warmup_steps=2, ranks=2, device="cpu", log_every=1,
    save_every=3, keep_last=2, seed=3,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PhotosConfig:
    """What `write_photos` makes."""

    samples: tuple[int, ...] = (16, 16)  # of each shard


def detector_job(data: Path, out: Path, **changes: object) -> Job:
    """A job with some fields of CONFIG changed; a dot of a path is written as two underscores."""
    texts = {path.replace("__", "."): str(value) for path, value in changes.items()}
    return Job(data=(str(data),), exclusions="", out=str(out), config=override(CONFIG, texts))


def photo(number: int) -> np.ndarray:
    """uint8 [60, 80, 3]: smooth patches of colour with edges, another one for each number."""
    draws = np.random.default_rng(number)
    coarse = draws.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        centre = (int(draws.integers(80)), int(draws.integers(60)))
        cv2.circle(image, centre, int(draws.integers(4, 16)), draws.integers(0, 256, 3).tolist(), -1)
    return image


def write_photos(folder: Path, samples: Sequence[int]) -> Manifest:
    """Shards of photographs; sample n of shard s has the key "<s 5 digits><n 4 digits>", and its uid is `uid_of` it."""
    sources = [Source(index=index, inputs={"none": (Input(url="", identity=""),)}) for index in range(len(samples))]
    plan = stages.plan(STAGE, PhotosConfig(samples=tuple(samples)), sources, str(folder))
    return stages.run(plan, InThisProcess(), Log(stream=io.StringIO()))


def _draw(config: PhotosConfig, source: Source, target: Target) -> Counter[str]:
    keys = [f"{source.index:05d}{place:04d}" for place in range(config.samples[source.index])]
    with tarfile.open(target.path(".tar"), "w", format=tarfile.USTAR_FORMAT) as tar:
        for key in keys:
            add_member(tar, f"{key}.jpg", jpeg(photo(int(key))))
            add_member(tar, f"{key}.txt", f"photograph {key}".encode())
            add_member(tar, f"{key}.json", json.dumps({"uid": uid_of(key), "key": key}).encode())
    pq.write_table(pa.table({"key": keys}), target.path(".parquet"))
    return Counter({"in": len(keys), "kept": len(keys)})


STAGE: Stage[PhotosConfig] = Stage("photographs", 1, _draw)


@torch.inference_mode()
def recall(model: Detector, num_photos: int = 60) -> float:
    """The share of strong copies, of photographs that no shard holds, whose nearest photograph is their own."""
    photos = [photo(900_000 + n) for n in range(num_photos)]
    copies = [copy_of(image, name, 1.0, n) for name in HARD for n, image in enumerate(photos)]
    side = model.config.image_px
    one, other = (
        model.embed(normalize_pixels(torch.from_numpy(np.stack([squeeze(p, side) for p in part])).permute(0, 3, 1, 2)))
        for part in (photos, copies)
    )
    nearest = (other @ one.T).argmax(1)
    return float((nearest == torch.arange(num_photos).repeat(len(HARD))).float().mean())
