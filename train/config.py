"""What pretraining does: frozen, checked, and light to import (no torch), for recipes and the command line's help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from models.config import ClipConfig
from models.detector_config import DetectorConfig
from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How shards become batches. The order depends on num_lanes and shuffle_window only."""

    resize_px: int = 224  # shorter side of a picture before its random crop (or copy), in pixels; at least image_px
    num_lanes: int = 64  # sequential streams that share a global batch equally; a multiple of the ranks
    shuffle_window: int = 2048  # samples of a lane that are shuffled together, held in memory as files
    threads: int = 4  # lanes of a rank that are read and decoded at once
    read_ahead: int = 4  # batches ready before they are asked for
    cache_decoded_mb: int = 0  # memory of each rank for resized pictures, so that a small data set is decoded once

    def __post_init__(self) -> None:
        for name in ("resize_px", "num_lanes", "shuffle_window", "threads", "read_ahead"):
            if getattr(self, name) < 1:
                raise ConfigError(f"stream.{name}={getattr(self, name)}: must be at least 1")
        if self.cache_decoded_mb < 0:
            raise ConfigError(f"stream.cache_decoded_mb={self.cache_decoded_mb}: must be 0 (no cache) or more")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every contrastive training has, whatever it learns."""

    section: ClassVar[str]  # of a recipe, for messages
    command: ClassVar[str]  # that trains it, for messages

    stream: StreamConfig = field(default_factory=StreamConfig)  # shards to batches
    batch_pairs: int = 32768  # pairs of a global batch, all ranks together; a multiple of stream.num_lanes
    num_steps: int = 390625  # optimizer steps; with 32,768 pairs this is the paper's 12.8 billion pairs
    learning_rate: float = 5e-4  # at its highest, after the warm-up
    warmup_steps: int = 2000  # steps of linear rise; then half a cosine to 0
    weight_decay: float = 0.2  # decoupled; not on gains, biases and the logit scale
    beta1: float = 0.9  # AdamW
    beta2: float = 0.98  # AdamW
    eps: float = 1e-6  # AdamW
    loss: Literal["chunked", "fused", "reference"] = "chunked"  # contrastive: plain tiles, Triton's, or the definition
    precision: Literal["fp32", "bf16"] = "fp32"  # of the towers' arithmetic; weights and loss are always fp32
    device: Literal["cuda", "cpu"] = "cuda"  # one GPU a rank, or the processor
    ranks: int = 8  # processes on this machine; divides stream.num_lanes
    seed: int = 0  # of weights and order
    log_every: int = 10  # steps between lines of metrics.jsonl
    save_every: int = 1000  # steps between checkpoints; the last step is always saved
    keep_last: int = 3  # checkpoints kept

    def __post_init__(self) -> None:
        self._check_ranges()
        lanes = self.stream.num_lanes
        if self.batch_pairs % lanes:
            nearest = max(1, round(self.batch_pairs / lanes)) * lanes
            raise ConfigError(
                f"batch_pairs={self.batch_pairs}: must be a multiple of stream.num_lanes={lanes}; write {nearest}"
            )
        if lanes % self.ranks:
            fitting = max(number for number in range(1, self.ranks + 1) if lanes % number == 0)
            raise ConfigError(f"ranks={self.ranks}: must divide stream.num_lanes={lanes}; write {fitting}")
        if self.warmup_steps > self.num_steps:
            raise ConfigError(
                f"warmup_steps={self.warmup_steps}: is more than num_steps={self.num_steps}; "
                f"write {self.num_steps // 10}"
            )

        if self.loss == "fused" and self.device == "cpu":
            raise ConfigError("loss=fused: its kernels are for GPUs; with device=cpu write loss=chunked")

    def _check_ranges(self) -> None:
        for name in ("batch_pairs", "num_steps", "ranks", "log_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("learning_rate", "eps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be more than 0")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Training of a CLIP; the defaults are ViT-B/32's in the paper (section 2.5, appendix F)."""

    section: ClassVar[str] = "pretrain"  # of a recipe, for messages
    command: ClassVar[str] = "pretrain"  # that trains it, for messages

    model: ClipConfig = field(default_factory=ClipConfig)  # the network
    merges: str = ""  # vocabulary, a local file of openwit train-tokenizer; empty: OpenAI's
    max_logit_scale: float = 100.0  # the learned scale is clipped here
    checkpoint_blocks: bool = False  # inner values of the towers' blocks are computed again for gradients, not kept

    def __post_init__(self) -> None:
        super().__post_init__()
        image_px = self.model.vision.image_px
        if not self.max_logit_scale > 0:
            raise ConfigError(f"max_logit_scale={self.max_logit_scale}: must be more than 0")
        if self.stream.resize_px < image_px:
            raise ConfigError(
                f"stream.resize_px={self.stream.resize_px}: must be at least model.vision.image_px={image_px}, the "
                f"side of the crop; write {image_px}"
            )


@dataclass(frozen=True, kw_only=True)
class DetectorTrainingConfig(TrainingConfig):
    """Training of the duplicate detector; the defaults are the paper's batch, temperature and number of pictures
    (appendix C), and AdamW at a rate of our own."""

    section: ClassVar[str] = "detector"  # of a recipe, for messages
    command: ClassVar[str] = "train-detector"  # that trains it, for messages

    model: DetectorConfig = field(default_factory=DetectorConfig)  # the network
    temperature: float = 0.07  # of the n-pair loss; it is not learned
    stream: StreamConfig = field(default_factory=lambda: StreamConfig(resize_px=320, num_lanes=16))  # shards to batches
    batch_pairs: int = 1712  # pictures of a global batch, each with its copy; a multiple of stream.num_lanes
    num_steps: int = 17523  # optimizer steps; with 1,712 pairs this is the paper's 30 million pictures
    learning_rate: float = 1e-3  # at its highest, after the warm-up
    warmup_steps: int = 500  # steps of linear rise; then half a cosine to 0
    weight_decay: float = 0.05  # decoupled; not on biases

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature}: must be more than 0; the paper has 0.07")
        if self.stream.resize_px < self.model.image_px:
            raise ConfigError(
                f"stream.resize_px={self.stream.resize_px}: must be at least model.image_px={self.model.image_px}; "
                f"write {self.model.image_px}"
            )


AnyTrainingConfig = PretrainConfig | DetectorTrainingConfig
