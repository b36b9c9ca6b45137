# mypy: disable-error-code="attr-defined"
"""The overlap check: hashes beside imagehash, recall of planted copies by hash and by the whole cascade, time by stage.

`phash_per_s`: photographs, resized to 256 px and stored as a crawl does, to both hashes and colours, a second of one
core.
`phash_vs_imagehash`: CPU time of imagehash.phash (64 bits) over ours, same images, in turn (above 1: ours is
faster); `..._reduced`: of imagehash behind Pillow's reduced decode.
`hash_recall`, `cascade_recall`: of copies by each transform of the paper's appendix C at three strengths (mean over
the 18), of photographs that the detector was not trained on, stored as JPEG; thresholds for 99% precision chosen on one
half of photographs and other images, measured on the other half, where `precision` is the cascade's. Among what is
flagged, false is an image that is no copy, or a copy whose own original was not found. A stage wins a transform where
a sign test over the copies that only the cascade (+) or only the hash (-) finds says so (p < 0.05); else it is a tie.
`copies_rare` has [recall, precision] with thresholds for copies that are 18 times rarer. Exact copies, which digests
find, are not in the table.
`embed_per_s`: the detector at hand; details have a ResNet-50 at 224 px. `two_workers` (not with --quick): time a shard
of one Ray worker over that of two, from when each has done its first shard; the start of Ray, and some seconds in which
a worker loads network and index, are left out (`two_workers_with_loading` has the latter: 24 shards of 400 images).

Without --detector a small one is trained first, for a quarter of an hour; with --quick it stays untrained, so that its
recall says nothing. A detector made elsewhere needs --trained-on, a file with the keys of its images, one a line.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import imagehash
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import binomtest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from harness import report, stage_seconds  # noqa: E402
from planted_copies import (  # noqa: E402
    Choice,
    Limits,
    Photographs,
    Planted,
    Scores,
    choose,
    plant,
    read_photographs,
    unrelated,
)
from stored_images import stored  # noqa: E402

from datagen.duplicates.config import OverlapConfig, SearchConfig  # noqa: E402
from datagen.duplicates.embed import Embedder  # noqa: E402
from datagen.duplicates.fingerprints import Fingerprints, decode_small, thumbnail  # noqa: E402
from datagen.duplicates.index.query import EvalIndex, Finder  # noqa: E402
from datagen.duplicates.overlap.check import (  # noqa: E402
    index_sets,
    merge_sets,
    shard_sources,
)
from datagen.duplicates.overlap.scan import OVERLAP_STAGE, read_seconds  # noqa: E402
from datagen.shards.rows import BATCH_IMAGES  # noqa: E402
from models.detector.augmentations import TRANSFORMS  # noqa: E402
from models.detector.config import DetectorConfig, DetectorResNetConfig  # noqa: E402
from models.detector.detector import Detector  # noqa: E402
from openwit import manifest as manifests  # noqa: E402
from openwit.executors.executor import ExecutorConfig  # noqa: E402
from openwit.log.events import Log  # noqa: E402
from openwit.manifest import Manifest, Part, PartFile  # noqa: E402
from openwit.run import Run  # noqa: E402
from openwit.stage import Input  # noqa: E402
from openwit.storage.files import sha256  # noqa: E402

SMALL = DetectorConfig(image_px=64, embed_dim=128, resnet=DetectorResNetConfig(blocks=(2, 2, 2, 2), width=32))
TRAINING = {
    "model.image_px": "64", "model.embed_dim": "128", "model.resnet.blocks": "2,2,2,2", "model.resnet.width": "32",
    "stream.resize_px": "128", "stream.num_lanes": "4", "stream.shuffle_window": "450",
    "stream.cache_decoded_mb": "400", "batch_pairs": "96", "duration": "2400 steps", "learning_rate": "2e-3",
    "warmup_steps": "100", "ranks": "1",
}  # fmt: skip
FARTHEST = 0.45  # by the 256-bit hash, that is looked at when thresholds are chosen
ONE_CELL = 1 / 18  # copies of one transform and strength among all that are planted


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: under 40 s on two cores")
    parser.add_argument("--photos", type=Path, help="a tar of photographs; left out: shared data, else drawings")
    parser.add_argument("--detector", default="", help="a folder of train-detector, or another descriptor")
    parser.add_argument("--trained-on", type=Path, help="a file with the keys of the detector's images, one a line")
    return parser.parse_args()


def main() -> None:
    """Prints the table and the closing line."""
    given = parse()
    quick = given.quick
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    photographs = read_photographs(given.photos, given.trained_on.read_text().split("\n") if given.trained_on else ())
    held_out = dict(itertools.islice(photographs.held_out.items(), 40 if quick else None))
    others = list(itertools.islice(unrelated(photographs), 800 if quick else None))
    sample = list(photographs.training.values())[: 256 if quick else 1024]
    kept = [stored(Image.open(io.BytesIO(data))) for data in sample]
    ratios, details = hash_speed(kept, rounds=3 if quick else 9)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector, kind = given.detector, "given"
        if not detector:
            detector, kind = (untrained(folder, "small", SMALL), "untrained") if quick else trained(folder, photographs)
        embedded, more = embed_speed(folder, detector, sample[: 64 if quick else 256])
        ratios["embed_per_s"] = embedded
        others += list(photographs.training.values())[: 100 if quick else None]
        scores = score(folder, detector, held_out, others)
        choice, recalled, table = recalls(scores)
        stages, two = time_by_stage(folder, (detector, choice.cascade), photographs, others, quick)
    report(
        "duplicates", {**ratios, **recalled, **two}, **details, **more, **table, **stages, detector=kind,
        images=photographs.kind, held_out=len(held_out), distractors=len(others),
    )  # fmt: skip


def core_seconds(work: Callable[[], object]) -> float:
    """The time of one core that a call takes; what other processes take meanwhile is not in it."""
    started = time.process_time()
    work()
    return time.process_time() - started


def hash_speed(files: Sequence[bytes], rounds: int) -> tuple[dict[str, float], dict[str, object]]:
    """The ratios of the hash, and the peer's images a second; also of a peer that decodes to a reduced size."""

    def ours() -> None:
        for start in range(0, len(files), BATCH_IMAGES):
            Fingerprints.of([thumbnail(decode_small(data)) for data in files[start : start + BATCH_IMAGES]])

    def peer() -> None:
        for data in files:
            imagehash.phash(Image.open(io.BytesIO(data)))

    def drafted() -> None:
        for data in files:
            image = Image.open(io.BytesIO(data))
            image.draft("L", (64, 64))
            imagehash.phash(image)

    sides = [ours, peer, drafted]
    for side in sides:
        side()
    times = []
    for turn in range(rounds):
        order = [sides[(turn + place) % 3] for place in range(3)]
        spent = {side: core_seconds(side) for side in order}
        times.append([spent[side] for side in sides])
    per_s = [len(files) / statistics.median(column) for column in zip(*times, strict=True)]
    ratios = {
        "phash_per_s": per_s[0],
        "phash_vs_imagehash": statistics.median(theirs / mine for mine, theirs, _ in times),
        "phash_vs_imagehash_reduced": statistics.median(theirs / mine for mine, _, theirs in times),
    }
    return ratios, {"imagehash_per_s": round(per_s[1])}


def embed_speed(folder: Path, detector: str, files: Sequence[bytes]) -> tuple[float, dict[str, object]]:
    """Vectors a second of one core (of the GPU where there is one, in details), of the detector and of a ResNet-50."""
    resnet50 = untrained(folder, "resnet50", DetectorConfig())
    details: dict[str, object] = {}
    rates = []
    for path, number in ((detector, len(files)), (resnet50, len(files) // 8)):
        embedder = Embedder(path, "cpu")
        prepared = [embedder.prepare(data) for data in files[:number]]
        embedder.embed(prepared[: embedder.batch])
        rates.append(number / statistics.median(core_seconds(lambda: embedder.embed(prepared)) for _ in range(3)))  # noqa: B023
    details["resnet50_embed_per_s"] = round(rates[1], 2)
    if torch.cuda.is_available():
        embedder = Embedder(resnet50, "cuda")
        prepared = [embedder.prepare(files[0])] * (4 * embedder.batch)
        embedder.embed(prepared)
        started = time.perf_counter()
        embedder.embed(prepared)
        details["resnet50_embed_per_s_gpu"] = round(len(prepared) / (time.perf_counter() - started))
    return rates[0], details


def untrained(folder: Path, name: str, config: DetectorConfig) -> str:
    """A detector's folder with the weights that training begins with."""
    torch.manual_seed(0)
    place = folder / name
    place.mkdir()
    save_file(
        {key: value.contiguous() for key, value in Detector(config).state_dict().items()}, place / "model.safetensors"
    )
    (place / "config.json").write_bytes(msgspec.json.encode({"detector": config}))
    return str(place)


def trained(folder: Path, photographs: Photographs) -> tuple[str, str]:
    """The folder of a small detector, trained by the command, and what it is."""
    work = folder / "training"
    files = list(photographs.training.values())
    write_shards(work / "shards", [files[start::4] for start in range(4)])
    fields = [word for name, value in TRAINING.items() for word in (f"--detector.{name}", value)]
    command = [sys.executable, "-m", "pipelines", "train-detector", "demo", "--work", str(work), *fields]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return str(work / "detector" / "model"), f"trained here, {TRAINING['duration']} of {TRAINING['batch_pairs']}"


def write_shards(folder: Path, shards: Sequence[Sequence[bytes]]) -> Manifest:
    """Shards of these images as the crawl leaves them, and their manifest."""
    folder.mkdir(parents=True)
    parts = []
    for index, files in enumerate(shards):
        keys = [f"{index:05d}{place:04d}" for place in range(len(files))]
        with tarfile.open(folder / f"{index:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, data in zip(keys, files, strict=True):
                notes = json.dumps({"uid": key, "key": key, "caption": "an image"}).encode()
                for suffix, content in (("jpg", data), ("txt", b"an image"), ("json", notes)):
                    header = tarfile.TarInfo(f"{key}.{suffix}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
        pq.write_table(pa.table({"key": keys, "status": ["success"] * len(keys)}), folder / f"{index:05d}.parquet")
        paths = [folder / f"{index:05d}{suffix}" for suffix in (".parquet", ".tar")]
        written = tuple(PartFile(name=path.name, bytes=path.stat().st_size, sha256=sha256(path)) for path in paths)
        counts = {"in": len(keys), "kept": len(keys)}
        parts.append(Part(index=index, key=f"{index}", rows=len(keys), files=written, counts=counts))
    made = Manifest(stage="crawl", version=1, config={}, inputs={}, parts=tuple(parts))
    manifests.write(str(folder), made)
    return made


def index(run: Run, detector: str, sets: Mapping[str, Iterable[bytes]]) -> tuple[OverlapConfig, tuple[Input, ...]]:
    """The sets' images (their keys are their places) indexed and embedded by the real stages."""
    for name, files in sets.items():
        images = list(files)
        table = pa.table(
            {"key": [f"{place:06d}" for place in range(len(images))], "image": pa.array(images, pa.binary())}
        )
        pq.write_table(table, Path(run.work.removeprefix("file://")) / f"{name}.parquet", row_group_size=512)
    urls = tuple(f"{name}={run.work}/{name}.parquet" for name in sets)
    config = OverlapConfig(eval_sets=urls, detector=detector, device="cpu")
    return config, merge_sets(run, config, index_sets(run, config), config.min_score)


def score(folder: Path, detector: str, held_out: Mapping[str, bytes], others: Sequence[bytes]) -> Scores:
    """Of every planted copy and every other image, how near both stages find it: a batch at a time, by the parts that
    the overlap check has."""
    work = folder / "recall"
    work.mkdir()
    with Run(str(work), "benchmark", ExecutorConfig(workers=2), Log()) as run:
        config, files = index(run, detector, {"held": held_out.values()})
    limits = OverlapConfig(eval_sets=config.eval_sets, max_distance256=FARTHEST).limits({})
    finder, embedder = Finder(EvalIndex(files), limits), Embedder(detector, "cpu")
    stream = itertools.chain(plant(held_out), (Planted(-1, 0, -1, data) for data in others))
    parts = []
    while batch := list(itertools.islice(stream, BATCH_IMAGES)):
        parts.append(_score_batch(finder, embedder, batch))
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _score_batch(finder: Finder, embedder: Embedder, batch: Sequence[Planted]) -> tuple[np.ndarray, ...]:
    rows = np.array([planted.row for planted in batch])
    cells = np.array([planted.transform * 3 + planted.strength if planted.row >= 0 else -1 for planted in batch])
    own, nearest = np.ones((2, len(batch)), np.float32)
    prints = Fingerprints.of([thumbnail(decode_small(planted.data)) for planted in batch])
    limits = next(iter(finder.limits.values()))
    for (query, row), found in finder.near_by_hash(prints)[0].items():
        if found.color_distance <= limits.max_color_distance:
            nearest[query] = min(nearest[query], found.distance256)
            if row == rows[query]:
                own[query] = found.distance256
    vectors = embedder.embed([embedder.prepare(planted.data) for planted in batch])
    cosines = np.round(vectors @ finder.index.arrays["vectors"].T, 4)
    true = np.where(rows >= 0, cosines[np.arange(len(batch)), rows], -1)
    return cells, rows, own, nearest, true, cosines.max(1)


def recalls(scores: Scores) -> tuple[Choice, dict[str, float], dict[str, object]]:
    """The thresholds, of one half of photographs and other images; of the other half the ratios and the table, which
    is also printed."""
    place = np.where(scores.row >= 0, scores.row, np.arange(len(scores.row)))
    chosen_on, measured = scores.part(place % 2 == 0), scores.part(place % 2 == 1)
    choice = choose(chosen_on)
    stages = {"hash": choice.by_hash, "detector": choice.detector, "cascade": choice.cascade}
    found = {name: measured.recalls(limits) for name, limits in stages.items()}
    wins = {name: _winner(measured, choice, number) for number, name in enumerate(TRANSFORMS)}
    print(f"{'':10}" + "".join(f"{name + ' at 1/3, 2/3, 1':32}" for name in stages))
    for number, name in enumerate(TRANSFORMS):
        shown = (
            "  ".join(f"{value:.3f}" for value in found[s][number]) + f"  = {found[s][number].mean():.3f}"
            for s in stages
        )
        print(f"{name:10}" + "".join(f"{text:32}" for text in shown) + wins[name])
    print(f"{'mean':10}" + "".join(f"{found[name].mean():<32.3f}" for name in stages))
    rare = choose(chosen_on, ONE_CELL)
    details = {
        "recall": {
            name: {stage: found[stage][number].round(3).tolist() for stage in stages}
            for number, name in enumerate(TRANSFORMS)
        },
        "cascade_against_hash": wins,
        "detector_recall": round(float(found["detector"].mean()), 4),
        "hash_precision": round(measured.precision(choice.by_hash), 4),
        "thresholds": {"hash": choice.by_hash.apart, "detector": choice.detector.cosine,
                       "cascade": [choice.cascade.apart, choice.cascade.cosine]},
        "copies_rare": {
            s: [round(float(measured.recalls(limits).mean()), 4), round(measured.precision(limits, ONE_CELL), 4)]
            for s, limits in (("hash", rare.by_hash), ("cascade", rare.cascade))
        },
        "measured_copies": int((measured.cell >= 0).sum()),
        "measured_distractors": int((measured.cell < 0).sum()),
    }  # fmt: skip
    ratios = {
        "hash_recall": float(found["hash"].mean()),
        "cascade_recall": float(found["cascade"].mean()),
        "precision": measured.precision(choice.cascade),
    }
    return choice, ratios, details


def _winner(measured: Scores, choice: Choice, transform: int) -> str:
    copies = measured.part(measured.cell // 3 == transform)
    by_hash, by_both = copies.found(choice.by_hash), copies.found(choice.cascade)
    more, fewer = int((by_both & ~by_hash).sum()), int((by_hash & ~by_both).sum())
    surely = more + fewer and binomtest(more, more + fewer).pvalue < 0.05
    return f"{'tie' if not surely else 'cascade' if more > fewer else 'hash'} +{more} -{fewer}"


def time_by_stage(
    folder: Path, cascade: tuple[str, Limits], photographs: Photographs, others: Sequence[bytes], quick: bool
) -> tuple[dict[str, object], dict[str, float]]:
    """Microseconds of one worker an image in each stage of the check by this detector and these thresholds, and the
    gain of a second Ray worker. Every fiftieth image of the shards is a held-out one."""
    work = folder / "speed"
    number, size = (2, 100) if quick else (24, 400)
    held, stream = list(photographs.held_out.values()), itertools.cycle(photographs.training.values())
    images = [held[n // 50 % len(held)] if n % 50 == 0 else next(stream) for n in range(number * size)]
    shards = write_shards(work / "shards", [images[start : start + size] for start in range(0, len(images), size)])
    sets = {"photographs": held[:100] if quick else held, "others": others[:400] if quick else others[:10_000]}
    with Run(str(work), "benchmark", ExecutorConfig(workers=2), Log()) as run:
        config, files = index(run, cascade[0], sets)
    apart, cosine = max(0.0, cascade[1].apart), cascade[1].cosine
    limits = tuple(replace(entry, max_distance256=apart, min_score=cosine) for entry in config.limits({}))
    searching = SearchConfig(limits=limits, near_pairs=config.near_pairs, device="cpu")
    taken = {1: np.zeros(2), 2: np.zeros(2)}
    for turn, workers in enumerate((1,) if quick else (1, 2, 2, 1)):
        executor = ExecutorConfig(kind="local" if quick else "ray", workers=workers)
        with Run(str(work), "benchmark", executor, Log()) as run:
            pairs = f"pairs-{turn}"
            made = run.stage(OVERLAP_STAGE, searching, shard_sources(run, shards, config, files), run.folder(pairs))
            taken[workers] += (seconds_a_shard(work / pairs, workers), stage_seconds(work / pairs))
            seconds = read_seconds(run.folder(pairs), made)
    split = {name: round(value / (number * size) * 1e6) for name, value in seconds.items()}
    stages = {"stage_us_an_image": split, "indexed_images": sum(map(len, sets.values()))}
    if quick:
        return stages, {}
    loaded, loading = (taken[1] / taken[2]).tolist()
    return stages, {"two_workers": loaded, "two_workers_with_loading": loading}


def seconds_a_shard(folder: Path, workers: int) -> float:
    """The time between the ends of two shards, once each worker has done its first one."""
    ends = sorted(path.stat().st_mtime for path in folder.glob("0*[0-9].json"))
    return (ends[-1] - ends[workers - 1]) / (len(ends) - workers)


if __name__ == "__main__":
    main()
