"""What pretraining does: frozen, checked, and light to import (no torch), for recipes and the command line's help.

How long a training lasts, as recipes say it: "390625 steps", "12.8e9 samples" or "32 epochs"; light to import.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from models.config import ClipConfig, VisionTransformerConfig
from models.detector.config import DetectorConfig
from openwit.config import Free
from openwit.errors import ConfigError
from train.mixture import parse_entries

UNITS = ("steps", "samples", "epochs")


@dataclass(frozen=True, kw_only=True)
class Duration:
    """A number of one of UNITS."""

    number: float  # how many
    unit: str  # one of UNITS

    def steps(self, batch_pairs: int, steps_per_epoch: int) -> int:
        """The nearest number of optimizer steps, at least 1, for a data set that gives so many steps an epoch."""
        one_step = {"steps": 1, "samples": batch_pairs, "epochs": 1 / steps_per_epoch}[self.unit]
        return max(1, round(self.number / one_step))


def parse_duration(text: str) -> Duration:
    """Raises ConfigError where the text is no duration, with an example of one."""
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]+)?) ([a-z]+)", text.strip())
    if match is None or match[2] not in UNITS:
        raise ConfigError(f'duration={text}: expected a number and one of {", ".join(UNITS)}, e.g. "32 epochs"')
    number = float(match[1])
    if not 0 < number < math.inf or (match[2] == "steps" and not number.is_integer()):
        raise ConfigError(f"duration={text}: must be more than 0 and finite, and steps a whole number")
    return Duration(number=number, unit=match[2])


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """How shards become batches. The order depends on num_lanes and shuffle_window only."""

    resize_px: int = 224  # shorter side of an image before its random crop (or copy), in pixels; at least image_px
    num_lanes: int = 64  # sequential streams that share a global batch equally; a multiple of the ranks
    shuffle_window: int = 2048  # samples of a lane that are shuffled together, held in memory as files
    threads: Free[int] = 4  # lanes of a process that are read and decoded at once
    processes: Free[int] = 1  # of a rank that read and decode; 1: its own. One gives some thousand samples/s at most
    read_ahead: Free[int] = 4  # batches ready before they are asked for
    cache_decoded_mb: Free[int] = 0  # memory of each rank (its GPU's, where that decodes) for images decoded only once
    reduced_decode: bool = True  # a JPEG with twice the wanted pixels a side, or more, is decoded at 1/2, 1/4 or 1/8
    decoder: Literal["cpu", "gpu"] = "cpu"  # gpu: JPEGs are decoded and resized by the rank's GPU
    remote_ahead_mb: Free[int] = 16  # of each of a rank's lanes, fetched from an object store before it is asked for
    remote_patience_s: Free[float] = 300.0  # for how long a store that fails is asked again, in growing intervals

    def __post_init__(self) -> None:
        for name in ("resize_px", "num_lanes", "shuffle_window", "threads", "processes", "read_ahead"):
            if getattr(self, name) < 1:
                raise ConfigError(f"stream.{name}={getattr(self, name)}: must be at least 1")
        if self.processes > 1 and sys.platform != "linux":
            raise ConfigError(f"stream.processes={self.processes}: more than one is for Linux; write 1")
        if self.processes > 1 and self.decoder == "gpu":
            raise ConfigError(
                f"stream.processes={self.processes}: with stream.decoder=gpu the rank decodes itself; write 1"
            )
        if self.cache_decoded_mb < 0:
            raise ConfigError(f"stream.cache_decoded_mb={self.cache_decoded_mb}: must be 0 (no cache) or more")
        if self.remote_ahead_mb < 1:
            raise ConfigError(f"stream.remote_ahead_mb={self.remote_ahead_mb}: must be at least 1")
        if self.remote_patience_s < 0:
            raise ConfigError(f"stream.remote_patience_s={self.remote_patience_s}: must be 0 (no second try) or more")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every contrastive training has, whatever it learns. Free is what changes neither what is learned nor its
    order (another number of ranks changes rounding only): a training goes on with other values.
    """

    section: ClassVar[str]  # of a recipe, for messages
    command: ClassVar[str]  # that trains it, for messages

    data: Free[tuple[str, ...]] = ()  # folders of shards: FOLDER or FOLDER=PASSES an epoch; empty: the work folder's
    stream: StreamConfig = field(default_factory=StreamConfig)  # shards to batches
    batch_pairs: int = 32768  # pairs of a global batch, all ranks together; a multiple of stream.num_lanes
    accumulation: int = 1  # parts of a rank's batch that pass the towers one after the other; the gradient stays exact
    duration: str = "32 epochs"  # a number of steps, samples or epochs
    learning_rate: float = 5e-4  # at its highest, after the warm-up
    warmup_steps: int = 2000  # steps of linear rise; then half a cosine to 0
    weight_decay: float = 0.2  # decoupled; not on gains, biases and the logit scale
    beta1: float = 0.9  # AdamW
    beta2: float = 0.98  # AdamW
    eps: float = 1e-6  # AdamW
    optimizer_state_dtype: Literal["fp32", "bf16"] = "fp32"  # AdamW's moments; bf16: half, rounded stochastically
    loss: Literal["chunked", "fused", "reference"] = "chunked"  # contrastive: plain tiles, Triton's, or the definition
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # of the towers' arithmetic; weights and loss are always fp32
    compile: bool = False  # the network's arithmetic by torch.compile
    device: Literal["cuda", "cpu"] = "cuda"  # one GPU a rank, or the processor
    ranks: Free[int] = 8  # processes on each machine; with nodes, their product divides stream.num_lanes
    nodes: Free[int] = 1  # machines that train together, each started with the same command
    rendezvous: Free[str] = ""  # HOST:PORT of one of several nodes, where all meet
    seed: int = 0  # of weights and order
    log_every: Free[int] = 10  # steps between lines of metrics.jsonl
    save_every: Free[int] = 1000  # steps between checkpoints; the last step is always saved
    keep_last: Free[int] = 3  # checkpoints kept
    spike: Free[float] = 1.5  # a step is logged as a spike where its loss is so many times the running mean's
    tensorboard: Free[bool] = True  # metrics also as TensorBoard's event files
    wandb_project: Free[str] = ""  # metrics also to this project of Weights & Biases; empty: not
    peak_tflops: Free[float] = 0.0  # of a device in this precision, for the MFU; 0: as its name says

    def __post_init__(self) -> None:
        self._check_ranges()
        parse_entries(self.data)
        lanes = self.stream.num_lanes
        if self.batch_pairs % lanes:
            nearest = max(1, round(self.batch_pairs / lanes)) * lanes
            raise ConfigError(
                f"batch_pairs={self.batch_pairs}: must be a multiple of stream.num_lanes={lanes}; write {nearest}"
            )
        world = self.ranks * self.nodes
        if lanes % world:
            fitting = max(number for number in range(1, world + 1) if lanes % number == 0)
            raise ConfigError(
                f"ranks={self.ranks}: {self.nodes} nodes of {self.ranks} ranks must divide stream.num_lanes={lanes}; "
                f"write {max(1, fitting // self.nodes)}, or num_lanes {-(-lanes // world) * world}"
            )
        if lanes // world % self.stream.processes:
            fitting = max(number for number in range(1, self.stream.processes) if lanes // world % number == 0)
            raise ConfigError(
                f"stream.processes={self.stream.processes}: must divide the {lanes // world} lanes of a rank; "
                f"write {fitting}"
            )
        if self.batch_pairs // world % self.accumulation:
            raise ConfigError(
                f"accumulation={self.accumulation}: must divide the {self.batch_pairs // world} pairs of a rank"
            )
        if self.nodes > 1 and not self.rendezvous:
            raise ConfigError(f"nodes={self.nodes}: rendezvous is missing; write HOST:PORT of one of the nodes")
        duration = parse_duration(self.duration)
        if duration.unit == "steps":
            self.num_steps(1)
        if self.loss == "fused" and self.device == "cpu":
            raise ConfigError("loss=fused: its kernels are for GPUs; with device=cpu write loss=chunked")
        if self.stream.decoder == "gpu" and self.device == "cpu":
            raise ConfigError("stream.decoder=gpu: no GPU decodes with device=cpu; write stream.decoder=cpu")

    def num_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole training, on a data set that gives so many an epoch.

        Raises ConfigError where the warm-up is longer.
        """
        total = parse_duration(self.duration).steps(self.batch_pairs, steps_per_epoch)
        if self.warmup_steps > total:
            raise ConfigError(
                f"warmup_steps={self.warmup_steps}: is more than the {total} steps of duration={self.duration}; "
                f"write {total // 10}"
            )
        return total

    def _check_ranges(self) -> None:
        for name in ("batch_pairs", "accumulation", "ranks", "nodes", "log_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("learning_rate", "eps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be more than 0")
        for name in ("warmup_steps", "weight_decay", "peak_tflops"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 0 and less than 1")
        if not self.spike > 1:
            raise ConfigError(f"spike={self.spike}: must be more than 1")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Training of a CLIP; the defaults are ViT-B/32's in the paper (section 2.5, appendix F)."""

    section: ClassVar[str] = "pretrain"  # of a recipe, for messages
    command: ClassVar[str] = "pretrain"  # that trains it, for messages

    model: ClipConfig = field(default_factory=ClipConfig)  # the network
    merges: str = ""  # vocabulary, a local file of openwit train-tokenizer; empty: OpenAI's
    initial: str = ""  # a model to begin with, its positions interpolated to model.vision.image_px; empty: new weights
    max_logit_scale: float = 100.0  # the learned scale is clipped here
    patch_dropout: float = 0.0  # share of an image's patches that a step leaves out, anew in each (FLIP); ViT only
    text_layout: Literal["packed", "padded"] = "packed"  # padded runs empty places too, in shapes that never change
    checkpoint_blocks: Free[bool] = False  # inner values of the towers' blocks are computed again for gradients
    eval_every: Free[int] = 0  # steps between evaluations of the recipe's evaluate section; 0: none while training

    def __post_init__(self) -> None:
        super().__post_init__()
        image_px = self.model.vision.image_px
        if not 0 <= self.patch_dropout < 1:
            raise ConfigError(f"patch_dropout={self.patch_dropout}: must be at least 0 and less than 1")
        if self.patch_dropout and not isinstance(self.model.vision, VisionTransformerConfig):
            raise ConfigError(f"patch_dropout={self.patch_dropout}: a ResNet has no patches; write 0")
        if self.eval_every < 0:
            raise ConfigError(f"eval_every={self.eval_every}: must be 0 (never) or more")
        if not self.max_logit_scale > 0:
            raise ConfigError(f"max_logit_scale={self.max_logit_scale}: must be more than 0")
        if self.stream.resize_px < image_px:
            raise ConfigError(
                f"stream.resize_px={self.stream.resize_px}: must be at least model.vision.image_px={image_px}, the "
                f"side of the crop; write {image_px}"
            )


@dataclass(frozen=True, kw_only=True)
class DetectorTrainingConfig(TrainingConfig):
    """Training of the duplicate detector; the defaults are the paper's batch, temperature and number of images
    (appendix C), and AdamW at a rate of our own."""

    section: ClassVar[str] = "detector"  # of a recipe, for messages
    command: ClassVar[str] = "train-detector"  # that trains it, for messages

    model: DetectorConfig = field(default_factory=DetectorConfig)  # the network
    temperature: float = 0.07  # of the n-pair loss; it is not learned
    stream: StreamConfig = field(default_factory=lambda: StreamConfig(resize_px=320, num_lanes=16))  # shards to batches
    batch_pairs: int = 1712  # images of a global batch, each with its copy; a multiple of stream.num_lanes
    duration: str = "30e6 samples"  # a number of steps, samples or epochs
    learning_rate: float = 1e-3  # at its highest, after the warm-up
    warmup_steps: int = 500  # steps of linear rise; then half a cosine to 0
    weight_decay: float = 0.05  # decoupled; not on biases

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ConfigError(f"temperature={self.temperature}: must be more than 0; the paper has 0.07")
        if self.stream.decoder == "gpu":
            raise ConfigError("stream.decoder=gpu: the copies of images are made by the CPU; write cpu")
        if self.stream.resize_px < self.model.image_px:
            raise ConfigError(
                f"stream.resize_px={self.stream.resize_px}: must be at least model.image_px={self.model.image_px}; "
                f"write {self.model.image_px}"
            )


AnyTrainingConfig = PretrainConfig | DetectorTrainingConfig
