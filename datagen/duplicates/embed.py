"""Images to the detector's vectors: the one file of datagen/ that runs a network."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import EmbedConfig
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.fingerprints import F32
from openwit import storage
from openwit.config import digest
from openwit.errors import ConfigError, InputError
from openwit.images import decode
from openwit.images.header import U8
from openwit.images.shrink import encode_jpeg
from openwit.stage import Counts, Input, Source, Stage, Target

CPU_BATCH = 32  # images at once; more are no faster there
MAX_BATCH = 512
COPY_QUALITY = 90  # of a made copy, as img2dataset writes images
PROBED = 8  # images by which the memory of a batch is foreseen
SHARE_OF_FREE = 0.25  # of a GPU's memory that one worker may fill: others may share the GPU
VECTORS = pa.schema([("eval_set", pa.string()), ("eval_key", pa.string()), ("vector", pa.binary())])  # of float32


class Embedder:
    """A descriptor on its device, with the batch that its memory holds. On a CPU it uses one core, as a worker has."""

    def __init__(self, path: str, device: str) -> None:
        import torch

        from models.detector.descriptor import load_descriptor

        self.descriptor = load_descriptor(path, _place(device))
        self.dim = self.descriptor.dim
        self.batch = CPU_BATCH
        if self.descriptor.device.type == "cpu":
            torch.set_num_threads(1)
        else:
            self.batch = self._fitting_batch()

    def prepare(self, data: bytes) -> U8:
        """The encoded image as the network takes it, uint8 [3, S, S]. Raises InputError where it is none."""
        return self.descriptor.prepare(data)

    def embed(self, prepared: Sequence[U8]) -> F32:
        """float32 unit vectors [N, D] of prepared images."""
        parts = [
            np.asarray(self.descriptor.embed(np.stack(prepared[start : start + self.batch])).cpu().numpy(), np.float32)
            for start in range(0, len(prepared), self.batch)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _fitting_batch(self) -> int:
        import torch

        probe = np.zeros((PROBED, 3, self.descriptor.image_px, self.descriptor.image_px), np.uint8)
        self.descriptor.embed(probe)  # what stays in memory is there afterwards
        before = torch.cuda.memory_allocated(self.descriptor.device)
        torch.cuda.reset_peak_memory_stats(self.descriptor.device)
        self.descriptor.embed(probe)
        each = max(1, (torch.cuda.max_memory_allocated(self.descriptor.device) - before) // PROBED)
        free = torch.cuda.mem_get_info(self.descriptor.device)[0]
        return int(min(MAX_BATCH, max(1, SHARE_OF_FREE * free // each)))


@functools.lru_cache(maxsize=1)
def open_embedder(path: str, identity: str, device: str) -> Embedder:
    """The descriptor at that path, loaded once a worker; the identity tells another one in the same place."""
    return Embedder(path, device)


def detector_input(path: str) -> Input:
    """The descriptor as a stage's input. Raises InputError where nothing is there."""
    tree = storage.list_tree(path)
    beside = storage.list_sizes(os.path.dirname(path) or ".") if not tree else {}
    notes = f"{os.path.splitext(os.path.basename(path))[0]}.json"
    files = list(tree) or [os.path.basename(path), *([notes] if notes in beside else [])]
    folder = path if tree else os.path.dirname(path)
    identities = {file: storage.identity(storage.join(folder, file)) for file in files}
    return Input(url=storage.absolute(path), identity=digest(identities))


def embed_set(config: EmbedConfig, source: Source, target: Target) -> Counts:
    """Writes the vectors of a part of an evaluation set (columns VECTORS), those of its images that can be
    decoded."""
    detector = source.input("detector")
    embedder = open_embedder(detector.url, detector.identity, config.device)
    counts: Counts = Counter({"in": 0, "kept": 0, "dropped.undecodable": 0})
    with pq.ParquetWriter(target.path(".parquet"), VECTORS) as writer:
        keys: list[str] = []
        prepared: list[U8] = []
        for example in formats.read(source.inputs["eval_set"]):
            counts["in"] += 1
            try:
                prepared.append(embedder.prepare(example.data))
            except InputError:
                counts["dropped.undecodable"] += 1
                continue
            keys.append(example.key)
            if len(keys) == embedder.batch:
                _write(writer, config.name, keys, embedder.embed(prepared))
                counts["kept"] += len(keys)
                keys, prepared = [], []
        _write(writer, config.name, keys, embedder.embed(prepared))
        counts["kept"] += len(keys)
    return counts


def made_copy(data: bytes, seed: int) -> bytes:
    """A JPEG of the image after the transforms by which the detector learns. Raises InputError where it cannot be
    decoded."""
    from models.detector.augmentations import augment

    return encode_jpeg(augment(decode(data), seed), COPY_QUALITY)


EMBED_STAGE: Stage[EmbedConfig] = Stage("overlap_embed", 2, embed_set)


def _write(writer: pq.ParquetWriter, name: str, keys: list[str], vectors: F32) -> None:
    writer.write_table(pa.table([[name] * len(keys), keys, [vector.tobytes() for vector in vectors]], schema=VECTORS))


def _place(device: str) -> str:
    """The device that is meant; of several GPUs the processes share them out by their numbers."""
    import torch

    number = torch.cuda.device_count()
    if device == "cuda" and not number:
        raise ConfigError("overlap.device=cuda: this machine has no GPU; write auto or cpu")
    return f"cuda:{os.getpid() % number}" if number and device != "cpu" else "cpu"
