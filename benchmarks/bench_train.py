"""Training on one GPU: model FLOPs utilisation (MFU), step time, memory, and the share of a step that waits for data.

    python benchmarks/bench_train.py                      every case (minutes: each compiles)
    python benchmarks/bench_train.py vit_l14 from_shards  these cases

The full recipes' ViT-B/32 and ViT-L/14, bf16, as one rank, with train.step.Learner: on synthetic pictures and captions
that lie in its memory, and on shards made here, decoded by the processor's cores and by the GPU. Beside each choice
stands its alternative: eager, the chunked loss, padded texts. Results go to results/<GPU>-train-<date>.json.

Keys: <case>_mfu (0.40 wanted of vit_b32, 0.45 of vit_l14), <case>_wait (below 0.05 wanted of the cases from shards),
<case>_ms, <case>_gb, <case>_vs_vit_b32 (step time beside that of vit_b32, above 1: slower).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from openwit import manifest as manifests
from openwit.manifest import Manifest, Part, PartFile
from pipelines.full_recipes import pretraining
from train.batches import Batch, Batches, Cursor
from train.config import PretrainConfig
from train.flops import peak_flops, training_flops
from train.objective import objective_of
from train.optimizer import build_optimizer
from train.ranks import Ranks
from train.shards import open_data_set
from train.step import Learner

RESULTS = Path(__file__).parent / "results"
WARM_UP, STEPS = 10, 30
MEAN_TOKENS = 24  # of a caption, start and end token included, as pipelines.pretrain_forecast assumes
NUM_LANES, SHARD_SAMPLES, DISTINCT = 64, 512, 256
START_TOKEN, END_TOKEN = 49406, 49407
Source = Callable[[PretrainConfig, Path], AbstractContextManager[Iterator[Batch]]]


@dataclass(frozen=True)
class Case:
    """A training to measure."""

    recipe: str
    pairs: int  # of a step
    source: Source
    changes: dict[str, object] = dataclasses.field(default_factory=dict)
    decoder: Literal["cpu", "gpu"] = "cpu"

    @property
    def config(self) -> PretrainConfig:
        """The recipe's training, by one rank on few steps."""
        whole = pretraining(self.recipe, self.recipe)
        stream = dataclasses.replace(
            whole.stream, num_lanes=NUM_LANES, threads=os.cpu_count() or 1, shuffle_window=64, decoder=self.decoder
        )
        own = {"batch_pairs": self.pairs, "stream": stream, "ranks": 1, "accumulation": 1, "checkpoint_blocks": False}
        fixed = {"duration": f"{WARM_UP + STEPS} steps", "warmup_steps": 1}
        return dataclasses.replace(whole, **{**own, **fixed, **self.changes})  # type: ignore[arg-type]


@contextmanager
def synthetic(config: PretrainConfig, folder: Path) -> Iterator[Iterator[Batch]]:
    """The same eight batches again and again, already where they are wanted."""
    device = torch.device(config.device)
    yield cycle([made_batch(config, seed, device) for seed in range(8)])


def made_batch(config: PretrainConfig, seed: int, device: torch.device) -> Batch:
    """Noise for pictures, and captions of MEAN_TOKENS tokens on average, of many lengths."""
    random = torch.Generator().manual_seed(seed)
    px, length = config.model.vision.image_px, config.model.text.context_length
    number = config.batch_pairs
    pictures = torch.randint(0, 256, (number, 3, px, px), dtype=torch.uint8, generator=random)
    tokens = torch.randint(1, START_TOKEN, (number, length), generator=random)
    ends = lengths(number, length, random) - 1
    tokens[:, 0] = START_TOKEN
    places = torch.arange(length)
    tokens[places == ends[:, None]] = END_TOKEN
    tokens[places > ends[:, None]] = 0
    return Batch((pictures.to(device), tokens.to(device)), ("",) * number, 0, Cursor(), ())


def lengths(number: int, most: int, random: torch.Generator) -> torch.Tensor:
    """Tokens of captions: few are long, as on the web; between 5 and `most`."""
    spread = torch.randn(number, generator=random).mul(0.45).exp()
    return (spread / spread.mean() * MEAN_TOKENS).round().long().clamp(5, most)


@contextmanager
def from_shards(config: PretrainConfig, folder: Path) -> Iterator[Iterator[Batch]]:
    """Batches of train.batches."""
    data_set = open_data_set((str(folder),))
    with Batches(data_set, config, 0, 1, Cursor(), torch.device(config.device)) as batches:
        yield batches


CASES = {
    "vit_b32": Case("vit_b32", 4096, synthetic),
    "vit_b32_eager": Case("vit_b32", 4096, synthetic, {"compile": False}),
    "vit_b32_chunked": Case("vit_b32", 4096, synthetic, {"loss": "chunked"}),
    "vit_b32_padded": Case("vit_b32", 4096, synthetic, {"text_layout": "padded"}),
    "vit_l14": Case("vit_l14", 512, synthetic),
    "vit_l14_checkpointed": Case("vit_l14", 2048, synthetic, {"checkpoint_blocks": True}),
    "from_shards": Case("vit_b32", 4096, from_shards),
    "from_shards_gpu_decode": Case("vit_b32", 4096, from_shards, decoder="gpu"),
}


def write_shards(folder: Path, number: int) -> None:
    """So many shards of 256 px JPEGs with captions, and their manifest; pictures return after DISTINCT others."""
    pictures = [made_jpeg(seed) for seed in range(DISTINCT)]
    random = np.random.default_rng(0)
    parts = []
    for index in range(number):
        path = folder / f"{index:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place in range(SHARD_SAMPLES):
                words = " ".join(f"word{word}" for word in random.integers(0, 5000, random.integers(2, 18)))
                add_sample(tar, f"{index:05d}{place:04d}", pictures[random.integers(DISTINCT)], words)
        data = path.read_bytes()
        file = PartFile(name=path.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        parts.append(Part(index=index, key="", rows=SHARD_SAMPLES, files=(file,), counts={}))
    manifests.write(str(folder), Manifest(stage="crawl", version=1, config={}, inputs={}, parts=tuple(parts)))


def made_jpeg(seed: int) -> bytes:
    """A picture with detail of all sizes, its shorter side 256 pixels."""
    random = np.random.default_rng(seed)
    pixels = np.full((256, 341, 3), 128.0)
    for step in range(7):
        noise = random.normal(128, 45, (256 // 2**step + 1, 341 // 2**step + 1, 3)).clip(0, 255).astype(np.uint8)
        pixels += np.asarray(Image.fromarray(noise).resize((341, 256), Image.Resampling.BICUBIC), np.float64) / 2 - 64
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def add_sample(tar: tarfile.TarFile, key: str, picture: bytes, caption: str) -> None:
    """The three files of a sample, as the crawl writes them."""
    captions = [{"uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(), "caption": caption}]
    notes = json.dumps({"key": key, "captions": captions}).encode()
    for name, content in (("jpg", picture), ("txt", caption.encode()), ("json", notes)):
        header = tarfile.TarInfo(f"{key}.{name}")
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))


def measure(config: PretrainConfig, source: Source, folder: Path) -> dict[str, float]:
    """Mean step time, MFU, peak memory, and the share of time that was waited for data."""
    device = torch.device(config.device)
    torch.manual_seed(0)
    objective = objective_of(config)
    model = objective.build().to(device)
    learner = Learner(config, objective, model, build_optimizer(model, config), Ranks(0, 1, device))
    with source(config, folder) as batches:
        for _ in range(WARM_UP):
            learner.step(next(batches), config.learning_rate)
        settle(device)
        started, waited, tokens = time.perf_counter(), 0.0, torch.zeros((), device=device)
        for _ in range(STEPS):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            tokens += (batch.inputs[1] != 0).sum().to(device)
            learner.step(batch, config.learning_rate)
        mean_tokens = tokens.item() / STEPS / config.batch_pairs  # waits for the device
        spent = time.perf_counter() - started
    found = {"ms": spent / STEPS * 1e3, "wait": waited / spent, "tokens": mean_tokens}
    if device.type == "cuda":
        found["gb"] = torch.cuda.max_memory_allocated() / 1e9
        peak = peak_flops(torch.cuda.get_device_name(), config)
        flops = training_flops(config, mean_tokens) * config.batch_pairs * STEPS
        found |= {"mfu": flops / spent / peak} if peak else {}
    return found


def settle(device: torch.device) -> None:
    """What was asked of the device is done; its peak memory counts from here."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Measures the cases, prints, and writes results/<GPU>-train-<date>.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the case vit_b32")
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    given = parser.parse_args()
    if unknown := [name for name in given.cases if name not in CASES]:
        parser.error(f"{unknown[0]}: no such case; there are {', '.join(CASES)}")
    if not torch.cuda.is_available():
        print("no GPU: what this measures is a GPU's; run it on a machine with one")
        print(json.dumps({"benchmark": "train", "skipped": "no GPU"}))
        return
    names = given.cases or (["vit_b32"] if given.quick else list(CASES))
    with tempfile.TemporaryDirectory() as scratch:
        if any(CASES[name].source is from_shards for name in names):
            write_shards(Path(scratch), 2 * NUM_LANES)
        found = {name: attempt(CASES[name], Path(scratch)) for name in names}
    publish(found)


def attempt(case: Case, folder: Path) -> dict[str, float]:
    """The case's measurements; none where it does not fit into the GPU."""
    try:
        found = measure(case.config, case.source, folder)
    except torch.OutOfMemoryError as error:
        print(f"{case}: out of memory ({str(error).splitlines()[0]})", flush=True)
        found = {}
    gc.collect()
    torch.cuda.empty_cache()
    print(case.recipe, case.pairs, case.changes, {key: round(value, 4) for key, value in found.items()}, flush=True)
    return found


def publish(found: dict[str, dict[str, float]]) -> None:
    """Writes the results, and prints them in one line."""
    gpu = torch.cuda.get_device_name()
    flat: dict[str, object] = {f"{name}_{key}": value for name, keys in found.items() for key, value in keys.items()}
    if beside := found.get("vit_b32"):
        others = [name for name in found if CASES[name].recipe == "vit_b32" and name != "vit_b32" and found[name]]
        flat |= {f"{name}_vs_vit_b32": found[name]["ms"] / beside["ms"] for name in others}
    cores = len(os.sched_getaffinity(0))
    flat |= {"benchmark": "train", "gpu": gpu, "torch": torch.__version__, "cores": cores}
    RESULTS.mkdir(exist_ok=True)
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    path = RESULTS / f"{gpu.lower().replace(' ', '-')}-train-{day}.json"
    path.write_text(json.dumps(flat, indent=1) + "\n")
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in flat.items()}))


if __name__ == "__main__":
    main()
