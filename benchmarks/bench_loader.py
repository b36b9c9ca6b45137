# mypy: disable-error-code="arg-type"
"""Batches from shards of photographs, shorter side 256 pixels, beside open_clip's training pipeline from the same tars,
and beside decoding alone.

open_clip's side is its own code (open_clip_train.data on webdataset, its training transforms on Pillow, its tokenizer)
in this process, without workers. Ours is train.data.loader with one thread that reads and decodes. What counts is
CPU time a sample, of all threads, in short turns, and the median of the turns' ratios: it stands on a busy machine
too. Both end in images of 224 pixels and rows of ids; theirs are normalised floats, ours bytes, for the device
normalises them:
`normalized_vs_open_clip` has that work, on the CPU, added on our side. For the bound the same bytes are decoded,
resized and cropped by our own functions, each crop copied to the same place, and nothing more.

The photographs (224 pixels where they are the shared ones) are resized to 256 and stored as the crawl stores them.

Keys: loader_vs_open_clip (above 1: ours takes less), loader_vs_decode_bound (1: there is nothing but decoding).
"""

from __future__ import annotations

import collections
import functools
import gc
import hashlib
import io
import itertools
import json
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import torch
from harness import quick_flag, report
from open_clip_train import data as peer_data
from PIL import Image
from stored_images import stored

from models.preprocess import normalize_pixels
from openwit import manifest as manifests
from openwit.manifest import Manifest, Part, PartFile
from openwit.shards.samples import TarSample, scan_tar
from train.config import PretrainConfig, StreamConfig
from train.data.batches import LoaderSpec
from train.data.dataset import open_data_set
from train.data.decode import Pixels, crop_square, decode_resized
from train.data.loader import BatchLoader
from train.objectives.clip import ClipObjective

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "openstax_photos.tar"
IMAGE_PX, NUM_SHARDS, BATCH, TURN_STEPS = 224, 8, 128, 4
Pair = tuple[bytes, str]


def pairs(number: int) -> Iterator[Pair]:
    """JPEGs of photographs with a line that describes each; made ones where the shared data are absent."""
    if not PHOTOGRAPHS.is_file():
        yield from (made_pair(seed) for seed in range(number))
        return
    with tarfile.open(PHOTOGRAPHS) as tar:
        rows = map(json.loads, tar.extractfile("meta.jsonl").read().splitlines()[:number])  # type: ignore[union-attr]
        yield from ((stored(Image.open(tar.extractfile(row["file"]))), row["alt"]) for row in rows)


def made_pair(seed: int) -> Pair:
    """An image with detail of all sizes, as photographs have it, in 40 kB."""
    random = np.random.default_rng(seed)
    layers = [
        random.normal(0, 60 / (step + 1), (3, 341 // 2**step + 1, 256 // 2**step + 1)) * 2**step for step in range(7)
    ]
    scaled = [
        [
            np.asarray(Image.fromarray(plane.astype(np.float32)).resize((341, 256), Image.Resampling.BICUBIC))
            for plane in layer
        ]
        for layer in layers
    ]
    pixels = (np.sum(scaled, axis=0) / 4 + 128).clip(0, 255).astype(np.uint8)
    return stored(Image.fromarray(pixels.transpose(1, 2, 0))), " ".join(
        f"word{number}" for number in random.integers(0, 5000, 26)
    )


def write_shards(folder: Path, number: int) -> None:
    """The pairs in tars as img2dataset lays them out, and their manifest."""
    parts = []
    rows = list(pairs(number))
    per_shard = len(rows) // NUM_SHARDS
    for index in range(NUM_SHARDS):
        path = folder / f"{index:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, pair in enumerate(rows[index * per_shard : (index + 1) * per_shard]):
                for name, content in sample_files(f"{index:05d}{place:04d}", pair).items():
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        data = path.read_bytes()
        file = PartFile(name=path.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        parts.append(Part(index=index, key="", rows=per_shard, files=(file,), counts={}))
    manifests.write(str(folder), Manifest(stage="crawl", version=1, config={}, inputs={}, parts=tuple(parts)))


def sample_files(key: str, pair: Pair) -> dict[str, bytes]:
    """The three files of a sample."""
    encoded, caption = pair
    uid = hashlib.blake2b(encoded, digest_size=16).hexdigest()
    captions = [{"uid": uid, "caption": caption, "page_url": f"https://example.org/page/{key}", "query_ids": [1, 2, 3]}]
    notes = {
        "uid": uid, "captions": captions, "key": key, "status": "success", "error_message": None, "width": 341,
        "height": 256, "original_width": 1024, "original_height": 768, "url": f"https://example.org/{key}.jpg",
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }  # fmt: skip
    return {f"{key}.jpg": encoded, f"{key}.txt": caption.encode(), f"{key}.json": json.dumps(notes).encode()}


def loader(folder: Path, threads: int) -> BatchLoader:
    """ViT-B/32's, of one rank."""
    stream = StreamConfig(num_lanes=NUM_SHARDS, threads=threads, read_ahead=2)
    config = PretrainConfig(device="cpu", ranks=1, batch_pairs=BATCH, stream=stream)
    return BatchLoader(LoaderSpec(data_set=open_data_set((str(folder),)), objective=ClipObjective(config)))


def open_clip_loader(folder: Path, num_samples: int) -> Iterable[object]:
    """open_clip's batches of an epoch, anew each time."""
    # the marks that newer webdataset puts between tars are not known to it
    peer_data.tar_file_expander = functools.partial(peer_data.tar_file_expander, eof_value=None)
    settings = SimpleNamespace(
        train_data=f"{folder}/{{00000..{NUM_SHARDS - 1:05d}}}.tar", train_num_samples=num_samples, batch_size=BATCH,
        train_data_upsampling_factors=None, dataset_resampled=False, seed=0, workers=0, world_size=1,
    )  # fmt: skip
    transform = open_clip.image_transform(IMAGE_PX, is_train=True)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    batches: Iterable[object] = peer_data.get_wds_dataset(settings, transform, True, tokenizer=tokenizer).dataloader
    return batches


def spend(items: Iterable[object]) -> None:
    """Makes the items and keeps none."""
    collections.deque(items, maxlen=0)


def settled() -> float:
    """The CPU time of this process, once all its threads are waiting."""
    spent = -1.0
    while time.process_time() - spent > 0.002:
        spent = time.process_time()
        time.sleep(0.1)
    return time.process_time()


def endless(epochs: Iterable[object]) -> Iterator[object]:
    """The batches of an epoch, and those of the next."""
    while True:
        yield from epochs


def cpu_seconds(work: Callable[[], object]) -> float:
    """What a call costs, work that it leaves to threads included."""
    before = settled()
    work()
    return settled() - before


def rate(folder: Path, threads: int) -> float:
    """Samples a second of wall time."""
    with loader(folder, threads) as batches:
        for _ in range(4):
            next(batches)
        started = time.perf_counter()
        for _ in range(batches.steps_per_epoch):
            next(batches)
        return batches.steps_per_epoch * BATCH / (time.perf_counter() - started)


def main() -> None:
    quick = quick_flag(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_shards(folder, 1024 if quick else 2560)
        compare(folder, (10, 2) if quick else (80, 16))


def compare(folder: Path, turns: tuple[int, int]) -> None:
    """Measures ours beside the bound so often, then so often beside the peer, and reports."""
    samples = [s for path in sorted(folder.glob("0*.tar")) for s in scan_tar(path.open("rb"))]
    images = [s.members["jpg"] for s in samples if isinstance(s, TarSample)]
    place = np.empty((IMAGE_PX, IMAGE_PX, 3), np.uint8)
    peer = endless(open_clip_loader(folder, len(images)))
    encoded = itertools.cycle(images)
    with loader(folder, 1) as batches:
        assert batches.steps_per_epoch * BATCH == len(images)
        kept = next(batches).inputs[0]
        gc.freeze()  # as a training does, and for all of them
        bounded = in_turn(
            turns[0],
            ours=lambda: spend(islice(batches, TURN_STEPS)),
            bound=lambda: spend(put_crop(data, place) for data in islice(encoded, TURN_STEPS * BATCH)),
        )
        beside = in_turn(
            turns[1],
            ours=lambda: spend(islice(batches, TURN_STEPS)),
            open_clip=lambda: spend(islice(peer, TURN_STEPS)),
            normalize=lambda: spend(normalize_pixels(kept) for _ in range(TURN_STEPS)),
        )
    normalized = [a + b for a, b in zip(beside["ours"], beside["normalize"], strict=True)]
    report(
        "loader",
        {
            "loader_vs_open_clip": ratio(beside["open_clip"], beside["ours"]),
            "loader_vs_decode_bound": ratio(bounded["bound"], bounded["ours"]),
            "normalized_vs_open_clip": ratio(beside["open_clip"], normalized),
        },
        cpu_ms_a_sample={name: round(statistics.median(spent) * 1e3, 4) for name, spent in (beside | bounded).items()},
        least_ms_a_sample={name: round(min(spent) * 1e3, 4) for name, spent in (beside | bounded).items()},
        samples_per_s={str(threads): round(rate(folder, threads)) for threads in (1, 2)},
        samples=len(images),
        bytes_an_image=round(statistics.mean(map(len, images))),
        images_are="photographs" if PHOTOGRAPHS.is_file() else "made",
    )


def in_turn(turns: int, **works: Callable[[], object]) -> dict[str, list[float]]:
    """CPU seconds a sample of each, turn by turn; a first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            spent = cpu_seconds(work) / (TURN_STEPS * BATCH)
            if turn:
                times[name].append(spent)
        print("  ".join(f"{name} {spent[-1] * 1e3:.3f} ms" for name, spent in times.items() if spent), file=sys.stderr)
    return times


def put_crop(encoded: bytes, place: Pixels) -> Pixels:
    """A training image, uint8 [IMAGE_PX, IMAGE_PX, 3], copied to the place."""
    place[:] = crop_square(decode_resized(encoded, IMAGE_PX), IMAGE_PX, 7)
    return place


def ratio(peer: list[float], ours: list[float]) -> float:
    """The median over the turns of peer / ours."""
    return statistics.median(a / b for a, b in zip(peer, ours, strict=True))


if __name__ == "__main__":
    main()
