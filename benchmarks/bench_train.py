"""Training on one GPU: model FLOPs utilisation (MFU), step time, memory, and the share of time that waits for data.

    PYTHONPATH=. python3 benchmarks/bench_train.py                      every case (minutes: each compiles)
    PYTHONPATH=. python3 benchmarks/bench_train.py vit_l14 from_shards  these cases

The full recipes' ViT-B/32 and ViT-L/14, bf16, as one rank, with train.step.Learner: on synthetic images, which lie in
the GPU's memory, and on shards made here, decoded by the processor's cores and by the GPU. Beside each choice stands
its alternative: eager, the chunked loss, padded texts. Timing begins when all is compiled, and no batch is ready.
Results go to results/<GPU>-train-<date>.json after each case, beside those of other cases of that day.

Keys: <case>_mfu (0.40 wanted of vit_b32, 0.45 of vit_l14), <case>_wait (the share of time in which the GPU had nothing
to do, for there was no batch: below 0.05 wanted of the cases from shards), <case>_ms (a step), <case>_gb (most memory
at a time), <case>_tokens (of a caption, in the mean), <case>_vs_vit_b32 (step time beside that of vit_b32 in the same
run, above 1: slower); <case>_out_of_memory in the place of all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from harness import results_path
from PIL import Image
from torch import Tensor

from openwit import manifest as manifests
from openwit.manifest import Manifest, Part, PartFile
from pipelines.paper_recipes import pretraining
from train.config import PretrainConfig
from train.data.batches import Batch, Cursor, LoaderSpec
from train.data.dataset import open_data_set
from train.data.loader import BatchLoader
from train.loop import objective_of
from train.metrics.flops import peak_flops, training_flops
from train.optim.optimizer import build_optimizer
from train.ranks import Ranks
from train.step import Learner, StragglerTimer

WARM_UP, STEPS = 10, 40
MEAN_TOKENS = 24  # of a caption, start and end token included, as pipelines.cost.pretrain assumes
NUM_LANES, SHARD_SAMPLES, DISTINCT = 64, 512, 256
START_TOKEN, END_TOKEN = 49406, 49407
WORDS = ("a", "of", "the", "in", "red", "new", "photo", "house", "people", "black", "dog", "city")  # each is one token
CORES = len(os.sched_getaffinity(0))
Source = Callable[[PretrainConfig, Path], AbstractContextManager[Iterator[Batch]]]


@dataclass(frozen=True)
class Case:
    """A training to measure."""

    recipe: str
    pairs: int  # of a step
    source: Source
    changes: dict[str, object] = field(default_factory=dict)
    decoder: Literal["cpu", "gpu"] = "cpu"

    @property
    def config(self) -> PretrainConfig:
        """The recipe's training, by one rank on few steps."""
        recipe = pretraining(self.recipe, self.recipe)
        processes = 1 if self.decoder == "gpu" else recipe.stream.processes
        stream = dataclasses.replace(
            recipe.stream,
            num_lanes=NUM_LANES,
            shuffle_window=64,
            decoder=self.decoder,
            processes=processes,
            threads=max(1, CORES // processes),
        )
        alone = dataclasses.replace(
            recipe,
            stream=stream,
            batch_pairs=self.pairs,
            ranks=1,
            accumulation=1,
            checkpoint_blocks=False,
            duration=f"{WARM_UP + STEPS} steps",
            warmup_steps=1,
        )
        return dataclasses.replace(alone, **self.changes)  # type: ignore[arg-type]


@contextmanager
def synthetic(config: PretrainConfig, folder: Path) -> Iterator[Iterator[Batch]]:
    """One batch of images of noise, on the device, with eight of captions in turn, which stay off it as always."""
    device, px = torch.device(config.device), config.model.vision.image_px
    images_BHWC = torch.randint(0, 256, (config.batch_pairs, px, px, 3), dtype=torch.uint8, device=device)
    images = images_BHWC.permute(0, 3, 1, 2)
    captions = [made_captions(config, torch.Generator().manual_seed(seed)) for seed in range(8)]
    if device.type == "cuda":
        captions = [tokens.pin_memory() for tokens in captions]
    keys = ("",) * config.batch_pairs
    yield cycle([Batch((images, tokens), keys, 0, Cursor(), ()) for tokens in captions])


def made_captions(config: PretrainConfig, random: torch.Generator) -> Tensor:
    """Token ids [B, L] of captions of MEAN_TOKENS tokens on average, of many lengths."""
    number, most = config.batch_pairs, config.model.text.context_length
    tokens = torch.randint(1, START_TOKEN, (number, most), generator=random)
    ends = lengths(number, most, random) - 1
    tokens[:, 0] = START_TOKEN
    places = torch.arange(most)
    tokens[places == ends[:, None]] = END_TOKEN
    tokens[places > ends[:, None]] = 0
    return tokens


def lengths(number: int, most: int, random: torch.Generator) -> Tensor:
    """Tokens of captions: few are long, as on the web; between 5 and `most`."""
    spread = torch.randn(number, generator=random).mul(0.45).exp()
    return (spread / spread.mean() * MEAN_TOKENS).round().long().clamp(5, most)


@contextmanager
def from_shards(config: PretrainConfig, folder: Path) -> Iterator[Iterator[Batch]]:
    """Batches of train.data.loader."""
    data_set, device = open_data_set((str(folder),)), torch.device(config.device)
    with BatchLoader(LoaderSpec(data_set=data_set, objective=objective_of(config), device=device)) as batches:
        yield batches


CASES = {  # in 139 GiB also where padded or eager, by pipelines.cost.pretrain
    "vit_b32": Case("vit_b32", 3072, synthetic),
    "vit_b32_eager": Case("vit_b32", 3072, synthetic, {"compile": False}),
    "vit_b32_chunked": Case("vit_b32", 3072, synthetic, {"loss": "chunked"}),
    "vit_b32_padded": Case("vit_b32", 3072, synthetic, {"text_layout": "padded"}),
    "vit_l14": Case("vit_l14", 384, synthetic),
    "vit_l14_checkpointed": Case("vit_l14", 2048, synthetic, {"checkpoint_blocks": True}),
    "from_shards": Case("vit_b32", 3072, from_shards),
    "from_shards_gpu_decode": Case("vit_b32", 3072, from_shards, decoder="gpu"),
}


def write_shards(folder: Path, number: int) -> None:
    """So many shards of 256 px JPEGs with captions, and their manifest; images return after DISTINCT others."""
    images = [made_jpeg(seed) for seed in range(DISTINCT)]
    random = np.random.default_rng(0)
    parts = []
    for index in range(number):
        path = folder / f"{index:05d}.tar"
        num_words = lengths(SHARD_SAMPLES, 77, torch.Generator().manual_seed(index)) - 2
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place in range(SHARD_SAMPLES):
                caption = " ".join(random.choice(WORDS, int(num_words[place])))
                add_sample(tar, f"{index:05d}{place:04d}", images[random.integers(DISTINCT)], caption)
        data = path.read_bytes()
        file = PartFile(name=path.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        parts.append(Part(index=index, key="", rows=SHARD_SAMPLES, files=(file,), counts={}))
    manifests.write(str(folder), Manifest(stage="crawl", version=1, config={}, inputs={}, parts=tuple(parts)))


def made_jpeg(seed: int) -> bytes:
    """An image with detail of all sizes, its shorter side 256 pixels; it takes as long to decode as a photograph that
    the crawl stored."""
    random = np.random.default_rng(seed)
    pixels = np.full((256, 341, 3), 128.0)
    for step in range(7):
        noise = random.normal(128, 45, (256 // 2**step + 1, 341 // 2**step + 1, 3)).clip(0, 255).astype(np.uint8)
        pixels += np.asarray(Image.fromarray(noise).resize((341, 256), Image.Resampling.BICUBIC), np.float64) / 2 - 64
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=94)
    return stream.getvalue()


def add_sample(tar: tarfile.TarFile, key: str, image: bytes, caption: str) -> None:
    """The three files of a sample, as the crawl writes them."""
    captions = [{"uid": hashlib.blake2b(key.encode(), digest_size=16).hexdigest(), "caption": caption}]
    notes = json.dumps({"key": key, "captions": captions}).encode()
    for name, content in (("jpg", image), ("txt", caption.encode()), ("json", notes)):
        header = tarfile.TarInfo(f"{key}.{name}")
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))


def measure(config: PretrainConfig, source: Source, folder: Path) -> dict[str, float]:
    """Mean step time, MFU, peak memory, and the share of time in which the device did nothing but wait for data."""
    device = torch.device(config.device)
    learner = new_learner(config, device)
    with source(config, folder) as batches:
        for _ in range(WARM_UP):
            learner.train_step(next(batches))
        for _ in range(2 * config.stream.read_ahead + 2):
            next(batches)  # all that was made while the device was busy compiling: it would hide a wait
        settle(device)
        waiting, captions, started = StragglerTimer(device), [], time.perf_counter()
        for _ in range(STEPS):
            waiting.begin()  # by the device's clock: a host that waits while the device works costs nothing
            batch = next(batches)
            waiting.end()
            learner.train_step(batch)
            captions.append(batch.inputs[1])
        waited = waiting.lap() * STEPS
        memory_bytes = settle(device)
        spent = time.perf_counter() - started
    tokens = (torch.cat(captions).argmax(dim=1) + 1).double().mean().item()  # the end token is the highest
    found = {"ms": spent / STEPS * 1e3, "wait": waited / spent, "tokens": tokens}
    if device.type == "cuda":
        found["gb"] = memory_bytes / 1e9
        if peak := peak_flops(torch.cuda.get_device_name(), config):
            found["mfu"] = training_flops(config, tokens) * config.batch_pairs * STEPS / spent / peak
    return found


def new_learner(config: PretrainConfig, device: torch.device) -> Learner:
    """One rank at the beginning of its training."""
    torch.manual_seed(config.seed)
    objective = objective_of(config)
    model = objective.build().to(device)
    return Learner(objective, model, build_optimizer(model, config), Ranks(0, 1, device))


def settle(device: torch.device) -> int:
    """Waits until the device has done what it was asked for; its peak memory in bytes since the last time."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


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
        found: dict[str, dict[str, float]] = {}
        for name in names:
            found[name] = attempt(CASES[name], Path(scratch))
            print(name, {key: round(value, 4) for key, value in found[name].items()}, flush=True)
            line = publish(found)
    print(line)


def attempt(case: Case, folder: Path) -> dict[str, float]:
    """The case's measurements; that it does not fit, where the GPU's memory is too small."""
    try:
        found = measure(case.config, case.source, folder)
    except torch.OutOfMemoryError as error:
        print(str(error).splitlines()[0], flush=True)
        found = {"out_of_memory": 1.0}
    torch.compiler.reset()  # variants of other shapes count towards a limit
    gc.collect()
    torch.cuda.empty_cache()
    return found


def publish(found: dict[str, dict[str, float]]) -> str:
    """Writes the results of the cases so far beside those of earlier runs; this run's in one line of JSON."""
    gpu = torch.cuda.get_device_name()
    figures = {f"{name}_{key}": value for name, keys in found.items() for key, value in keys.items()}
    if "vit_b32_ms" in figures:
        others = [name for name in found if CASES[name].recipe == "vit_b32" and name != "vit_b32"]
        measured = [name for name in others if f"{name}_ms" in figures]
        figures |= {f"{name}_vs_vit_b32": figures[f"{name}_ms"] / figures["vit_b32_ms"] for name in measured}
    machine = {"benchmark": "train", "gpu": gpu, "torch": torch.__version__, "cores": CORES}
    path = results_path("train", gpu)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | machine | figures, indent=1) + "\n")
    return json.dumps(machine | {key: round(value, 4) for key, value in figures.items()})


if __name__ == "__main__":
    main()
