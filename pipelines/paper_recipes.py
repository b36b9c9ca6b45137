"""The trainings of the paper's nine models, one row each (paper, section 2.5 and appendix F); light to import."""

from __future__ import annotations

import dataclasses
import posixpath
from dataclasses import dataclass

from models.config import CONFIGS, ResNetConfig
from openwit import storage
from train.config import PretrainConfig, StreamConfig

CORES = 16  # of a rank's GPU
CRAWL_PX = 448  # shorter side of stored images: the largest input of the nine


@dataclass(frozen=True)
class _Row:
    """What is one model's own."""

    model: str  # in models.config
    learning_rate: float
    checkpoint_blocks: bool = True  # this and the next so that 1,024 pairs fit a GPU of 80 GB: the batch on 32 GPUs
    accumulation: int = 1
    processes: int = 1  # that decode: one makes some thousand images a second, which only the smallest take
    duration: str = "32 epochs"
    after: str = ""  # the recipe whose last weights it begins with


ROWS = {
    "rn50": _Row("RN50", 5e-4, checkpoint_blocks=False, processes=2),
    "rn101": _Row("RN101", 5e-4),
    "rn50x4": _Row("RN50x4", 5e-4),
    "rn50x16": _Row("RN50x16", 4e-4, accumulation=4),
    "rn50x64": _Row("RN50x64", 3.6e-4, accumulation=8),
    "vit_b32": _Row("ViT-B/32", 5e-4, checkpoint_blocks=False, processes=4),
    "vit_b16": _Row("ViT-B/16", 5e-4),
    "vit_l14": _Row("ViT-L/14", 4e-4),
    "vit_l14_336": _Row("ViT-L/14@336px", 2e-5, accumulation=2, duration="1 epochs", after="vit_l14"),
}


def pretraining(name: str, work: str) -> PretrainConfig:
    """The training of the recipe of that name, in that work folder.

    vit_l14_336 begins with the last checkpoint of the work folder vit_l14 beside its own.
    """
    row = ROWS[name]
    model = CONFIGS[row.model]
    config = PretrainConfig(
        model=model,
        stream=StreamConfig(
            resize_px=model.vision.image_px,
            num_lanes=512,
            shuffle_window=1024,
            threads=CORES // row.processes,
            processes=row.processes,
        ),
        accumulation=row.accumulation,
        duration=row.duration,
        learning_rate=row.learning_rate,
        loss="fused",
        precision="bf16",
        compile=True,
        initial=_checkpoints(row.after, work) if row.after else "",
        checkpoint_blocks=row.checkpoint_blocks,
    )
    if isinstance(model.vision, ResNetConfig):
        return dataclasses.replace(config, beta2=0.999, eps=1e-8)
    return config


def _checkpoints(recipe: str, work: str) -> str:
    """The checkpoints of another recipe's work folder beside this one."""
    return storage.join(posixpath.dirname(work.rstrip("/")) or ".", recipe, "pretrain", "checkpoints")
