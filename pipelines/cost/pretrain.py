"""What a pretraining will cost, by its config alone: arithmetic, GPU-hours, memory.
`python -m pipelines.cost.pretrain` prints the table of docs/pretraining.md.

Nothing here was measured on a GPU. FLOPs are counted (train.metrics.flops), memory is that of the network's own
operations, run on tensors without contents, and the MFU is assumed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.config import ClipConfig, ResNetConfig
from train.config import PretrainConfig
from train.metrics.flops import peak_flops, training_flops

WIT_PAIRS = 400_000_000  # the paper's data set (section 2.2)
TEXT_TOKENS = 24  # of a caption, start and end token included: assumed
GPU = "H100 SXM"  # or H200: the same arithmetic
GPU_MEMORY_GB = 80
BYTES_PER_WEIGHT = 4 + 4  # the weight and its gradient


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one training takes; times are at the assumed MFU."""

    num_parameters: int
    num_steps: int
    num_samples: int  # that are seen, all passes together
    sample_flops: float  # forward and backward, the loss included
    mfu: float  # if nothing were computed twice
    again: float  # times the arithmetic, where checkpointed blocks or accumulated parts pass forward twice
    gpu_s: float | None  # None where a device's peak in this precision is not known
    fixed_bytes: float  # of a GPU: weights, gradients, statistics, the global batch's features
    pair_bytes: float  # of a GPU, for each pair that passes the towers at once

    @property
    def flops(self) -> float:
        """Of the whole training."""
        return self.sample_flops * self.num_samples

    def memory_bytes(self, pairs: int) -> float:
        """Of a GPU with so many pairs in its towers at once."""
        return self.fixed_bytes + self.pair_bytes * pairs


def forecast(config: PretrainConfig, steps_per_epoch: int) -> Forecast:
    """The cost of a training on a data set that gives so many steps an epoch."""
    num_steps = config.num_steps(steps_per_epoch)
    num_samples = num_steps * config.batch_pairs
    sample_flops = training_flops(config, TEXT_TOKENS)
    mfu, peak = assumed_mfu(config.model), peak_flops(GPU, config)
    again = 1 + (config.checkpoint_blocks + (config.accumulation > 1)) / 3  # a pass forward is a third of a step
    num_parameters, pair_bytes = _network(config)
    statistics = 4 if config.optimizer_state_dtype == "bf16" else 8
    copy = 0 if config.precision == "fp32" else 2  # in 16 bits, for the towers
    features = 2 * config.batch_pairs * config.model.embed_dim * (2 + 4)  # both sides, and their gradients
    return Forecast(
        num_parameters=num_parameters,
        num_steps=num_steps,
        num_samples=num_samples,
        sample_flops=sample_flops,
        mfu=mfu,
        again=again,
        gpu_s=sample_flops * num_samples * again / (mfu * peak) if peak else None,
        fixed_bytes=num_parameters * (BYTES_PER_WEIGHT + statistics + copy) + features,
        pair_bytes=pair_bytes,
    )


def assumed_mfu(model: ClipConfig) -> float:
    """The share of a GPU's peak that training shall make use of: what we aim at for Vision Transformers, and a guess
    for ResNets, whose convolutions are small."""
    if isinstance(model.vision, ResNetConfig):
        return 0.3
    return 0.45 if model.vision.width >= 1024 else 0.4


def lines(config: PretrainConfig, cost: Forecast) -> Iterator[str]:
    """The forecast as a person reads it."""
    texts = "padded" if config.text_layout == "padded" else f"of {TEXT_TOKENS} tokens (assumed)"
    yield f"{cost.num_parameters / 1e6:,.1f} million parameters, images of {config.model.vision.image_px} px"
    yield f"{cost.num_samples:,} samples in {cost.num_steps:,} steps of {config.batch_pairs:,} pairs"
    yield f"{cost.sample_flops / 1e9:,.1f} GFLOPs a sample, texts {texts}; {cost.flops:.2e} in all"
    if config.device == "cpu":
        return
    world = config.ranks * config.nodes
    if cost.gpu_s is None:
        yield f"no time: the peak of a GPU in {config.precision} is not known; write --pretrain.peak_tflops"
    else:
        gpus = f"GPUs of {config.peak_tflops:g} TFLOP/s" if config.peak_tflops else "H100 or H200"
        twice = f": {cost.mfu:.0%}, with {cost.again:.2f} times the arithmetic" if cost.again > 1 else ""
        yield (
            f"{cost.gpu_s / 3600:,.0f} GPU-hours on {gpus} at an MFU of {cost.mfu / cost.again:.0%} "
            f"(assumed{twice}): {cost.gpu_s / 86400 / world:,.1f} days on {world} GPUs"
        )
    pairs = config.batch_pairs // world // config.accumulation
    memory = cost.memory_bytes(pairs)
    yield (
        f"about {memory / 1e9:,.0f} GB of each GPU: {cost.fixed_bytes / 1e9:,.1f} GB whatever the batch, and "
        f"{cost.pair_bytes / 1e6:,.1f} MB for each of {pairs:,} pairs at once (counted without torch.compile)"
    )
    if memory > GPU_MEMORY_GB * 1e9:
        yield f"which is more than {GPU_MEMORY_GB} GB; {_way_out(config, cost, pairs)}"


def _way_out(config: PretrainConfig, cost: Forecast, pairs: int) -> str:
    """What to write so that it fits."""
    for parts in (2**power for power in range(1, 12)):
        if pairs % parts == 0 and cost.memory_bytes(pairs // parts) <= GPU_MEMORY_GB * 1e9:
            return f"write --pretrain.accumulation {config.accumulation * parts}, or take more GPUs"
    return ("" if config.checkpoint_blocks else "write --pretrain.checkpoint_blocks true, or ") + "take more GPUs"


def _network(config: PretrainConfig) -> tuple[int, float]:
    """The number of parameters, and the bytes that each pair of a pass takes at its peak, forward and backward."""
    small, large = 64, 128  # enough pairs for their values to outweigh gradients that come and go
    num_parameters, low = _peak_bytes(config, small)
    _, high = _peak_bytes(config, large)
    images = 3 * config.model.vision.image_px**2 * (1 + 4)  # as they came, and normalised
    return num_parameters, (high - low) / (large - small) + images


def _peak_bytes(config: PretrainConfig, pairs: int) -> tuple[int, int]:
    """The number of parameters, and the most memory that the towers' operations hold at a time for so many pairs."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from models.clip import Clip
    from train.objectives.clip import number_kept

    sizes = config.model.text
    tokens = TEXT_TOKENS if config.text_layout == "packed" else sizes.context_length
    with FakeTensorMode():
        model = Clip(config.model)
        model.set_checkpointing(config.checkpoint_blocks)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        image_px = config.model.vision.image_px
        seen = [torch.zeros(pairs, 3, image_px, image_px)]
        if config.patch_dropout:
            num_kept = number_kept(config.model.vision.num_patches, config.patch_dropout)
            seen.append(torch.zeros(pairs, num_kept, dtype=torch.int64))
        rows_NW = torch.zeros(pairs * tokens, sizes.width, requires_grad=True)
        held = _held()
        with held, torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"):
            total = model.visual(*seen).sum()
            if sizes.kind == "transformer":
                total = total + model.transformer(rows_NW, [(pairs, tokens)], causal=True).sum()
            total.backward()
        return sum(parameter.numel() for parameter in model.parameters()), held.peak


def _held() -> Any:
    """A mode of torch that counts the bytes that its operations' results hold while they live."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Held(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.now = self.peak = 0
            self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self.known:
                    self._take(tensor.untyped_storage())
            return result

        def _take(self, storage: torch.UntypedStorage) -> None:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, storage.nbytes())

        def _free(self, num_bytes: int) -> None:
            self.now -= num_bytes

    return Held()


def table() -> Iterator[str]:
    """The nine trainings, in Markdown; memory is that of 1,024 pairs a GPU."""
    from pipelines import paper_recipes

    header = "recipe", "M parameters", "GFLOPs a sample", "FLOPs", "MFU", "H100-days", "GB", "parts", "checkpointed"
    yield f"| {' | '.join(header)} |"
    yield "|---" * len(header) + "|"
    for name in paper_recipes.ROWS:
        yield table_row(name, paper_recipes.pretraining(name, name))


def table_row(name: str, config: PretrainConfig) -> str:
    """One training of the table."""
    cost = forecast(config, WIT_PAIRS // config.batch_pairs)
    assert cost.gpu_s is not None
    cells = (
        name,
        f"{cost.num_parameters / 1e6:.1f}",
        f"{cost.sample_flops / 1e9:,.1f}",
        f"{cost.flops:.1e}",
        f"{cost.mfu / cost.again:.0%}",
        f"{cost.gpu_s / 86400:,.0f}",
        f"{cost.memory_bytes(1024 // config.accumulation) / 1e9:.0f}",
        f"{config.accumulation}",
        "yes" if config.checkpoint_blocks else "no",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(*table(), sep="\n")
