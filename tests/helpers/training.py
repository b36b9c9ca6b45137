"""Tiny pretraining jobs; as a program it launches the job of a config.json:  python -m helpers.training FILE"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from openwit.config import override
from openwit.errors import OpenwitError
from openwit.log.events import Log
from train.checkpoints.layout import latest
from train.config import AnyTrainingConfig, PretrainConfig, StreamConfig
from train.job import Job, read_record
from train.launch.torchrun import launch
from train.metrics.metrics import CLOCK_FIELDS, read_records

if TYPE_CHECKING:  # what imports torch
    from train.data.batches import Cursor
    from train.data.dataset import DataSet
    from train.data.loader import BatchLoader

MODEL = ClipConfig(
    embed_dim=16,
    vision=VisionTransformerConfig(image_px=16, patch_px=8, width=16, layers=1, heads=2),
    text=TextConfig(context_length=16, width=16, layers=1, heads=2),
)
STREAM = StreamConfig(resize_px=20, num_lanes=4, shuffle_window=5, threads=2, read_ahead=2)
CONFIG = PretrainConfig(
    model=MODEL, stream=STREAM, batch_pairs=8, duration="6 steps", learning_rate=1e-3, warmup_steps=2, ranks=2,
    device="cpu", log_every=1, save_every=4, keep_last=2, seed=3,
)  # fmt: skip


def job(data: object, out: object, exclusions: str = "", /, **changes: object) -> Job:
    """A job with some fields of CONFIG changed; a dot of a path is written as two underscores."""
    texts = {path.replace("__", "."): str(value) for path, value in changes.items()}
    return Job(data=(str(data),), exclusions=exclusions, out=str(out), config=override(CONFIG, texts))


def curve(out: Path) -> list[dict[str, Any]]:
    """The metrics without what the clock decides."""
    return [
        {name: value for name, value in record.items() if name not in CLOCK_FIELDS}
        for record in read_records(out / "metrics.jsonl")
    ]


def newest(checkpoints: str) -> str:
    """The folder of the newest checkpoint, which is there."""
    found = latest(checkpoints)
    assert found is not None
    return found


def batch_loader(
    data_set: DataSet, config: AnyTrainingConfig, rank: int = 0, num_ranks: int = 1, start: Cursor | None = None,
    device: str = "cpu",
) -> BatchLoader:  # fmt: skip
    """One rank's loader, from its beginning or a cursor on."""
    import torch

    from train.data.batches import Cursor, LoaderSpec
    from train.data.loader import BatchLoader
    from train.loop import objective_of

    part = LoaderSpec(
        data_set=data_set, objective=objective_of(config), rank=rank, num_ranks=num_ranks, start=start or Cursor(),
        device=torch.device(device),
    )  # fmt: skip
    return BatchLoader(part)


@contextmanager
def alone() -> Iterator[None]:
    """torchrun's environment for one rank in this process; torch's settings are put back afterwards."""
    import torch

    before, threads = dict(os.environ), torch.get_num_threads()
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


def train_here(job: Job) -> None:
    """Runs the job in this process; in one rank, or as a rank of helpers.ranks."""
    from train.loop import train
    from train.ranks import join_ranks

    with join_ranks("cpu") as ranks:
        train(dataclasses.replace(job), ranks)


def main(path: str) -> int:
    """Launches; says whether torch was imported in this process."""
    try:
        launch(read_record(path).job, Log())
    except OpenwitError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    print(f"torch imported: {'torch' in sys.modules}", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
