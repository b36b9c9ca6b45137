"""A whole training step of a small CLIP on a CPU, from a batch to moved weights, ours beside open_clip's network and
loss with torch's AdamW as it comes, at equal sizes, weights, images and texts.

Keys: step_vs_open_clip (peer's CPU time / ours, above 1: ours takes less); step_vs_open_clip_padded, where ours runs
texts padded to 77 places as open_clip does: what is left is not the packing's; accumulation_2_vs_1, what ours takes
where the same batch passes the towers in two parts, beside itself in one (4/3 would be one more pass forward).
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_models import web_texts
from harness import quick_flag, report
from torch import Tensor

from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from models.preprocess import normalize_pixels
from models.tokenizer.tokenizer import Tokenizer
from train.config import PretrainConfig, StreamConfig
from train.data.batches import Batch, Cursor
from train.loop import objective_of
from train.optim.optimizer import build_optimizer, set_learning_rate
from train.ranks import Ranks
from train.step import Learner

CAPTIONS = Path(__file__).parents[2] / "shared/data/cc3m_validation.tsv.gz"
MODEL = ClipConfig(
    embed_dim=256,
    vision=VisionTransformerConfig(image_px=112, patch_px=16, width=256, layers=6, heads=4),
    text=TextConfig(width=256, layers=6, heads=4),
)
LEARNING_RATE = 5e-4
Step = Callable[[], Tensor]  # gives the loss


def texts(num_texts: int) -> tuple[Tensor, str]:
    """Token ids [B, 77] of captions from the web, where they are at hand, else of made ones; and what they are."""
    if not CAPTIONS.exists():
        return web_texts(num_texts), "made"
    with gzip.open(CAPTIONS, "rt", encoding="utf-8") as file:
        captions = [line.split("\t")[0] for line in file]
    every = len(captions) // num_texts
    return Tokenizer.of(MODEL.text).encode(captions[: every * num_texts : every]), CAPTIONS.name


def our_step(config: PretrainConfig, inputs: tuple[Tensor, ...], weights: dict[str, Tensor]) -> Step:
    """Ours, from these weights on."""
    objective = objective_of(config)
    model = objective.build()
    model.load_state_dict(weights)
    learner = Learner(objective, model, build_optimizer(model, config), Ranks(0, 1, torch.device("cpu")))
    batch = Batch(inputs, ("",) * len(inputs[0]), 0, Cursor(), ())
    set_learning_rate(learner.optimizer, LEARNING_RATE)
    return lambda: learner.train_step(batch).loss


def open_clip_step(config: PretrainConfig, inputs: tuple[Tensor, ...], weights: dict[str, Tensor]) -> Step:
    """open_clip's, as its training does it; its loader has normalised the images, ours does that in the step."""
    from open_clip.loss import ClipLoss

    model, loss_of = peer_network(config.model), ClipLoss()
    model.load_state_dict(weights)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
    ]
    adamw = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(config.beta1, config.beta2), eps=config.eps)
    image, tokens = normalize_pixels(inputs[0], config.model.preprocess), inputs[1]

    def step() -> Tensor:
        adamw.zero_grad()
        loss: Tensor = loss_of(*model(image, tokens)[:3])
        loss.backward()
        adamw.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return loss.detach()

    return step


def peer_network(config: ClipConfig) -> Any:
    """open_clip's CLIP of these sizes."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision, text = config.vision, config.text
    assert isinstance(vision, VisionTransformerConfig)
    tower = CLIPVisionCfg(
        layers=vision.layers, width=vision.width, head_width=vision.width // vision.heads,
        patch_size=vision.patch_px, image_size=vision.image_px,
    )  # fmt: skip
    words = CLIPTextCfg(
        context_length=text.context_length, vocab_size=text.vocabulary_size, width=text.width, heads=text.heads,
        layers=text.layers,
    )  # fmt: skip
    return CLIP(config.embed_dim, tower, words, quick_gelu=True)


def cpu_seconds(step: Step) -> float:
    """The CPU time of one step."""
    before = time.process_time()
    step()
    return time.process_time() - before


def main() -> None:
    """Measures and reports."""
    quick = quick_flag(__doc__)
    torch.set_num_threads(1)  # else CPU time holds what threads wait for each other
    num_pairs, rounds = (16, 3) if quick else (64, 9)
    torch.manual_seed(0)
    config = PretrainConfig(
        model=MODEL, device="cpu", ranks=1, batch_pairs=num_pairs, stream=StreamConfig(resize_px=128, num_lanes=1),
        duration="1000 steps", warmup_steps=0,
    )  # fmt: skip
    weights = objective_of(config).build().state_dict()
    px = MODEL.vision.image_px
    tokens, source = texts(num_pairs)
    inputs = (torch.randint(0, 256, (num_pairs, 3, px, px), dtype=torch.uint8), tokens)
    sides = {
        "packed": our_step(config, inputs, weights),
        "padded": our_step(dataclasses.replace(config, text_layout="padded"), inputs, weights),
        "in two parts": our_step(dataclasses.replace(config, accumulation=2), inputs, weights),
        "open_clip": open_clip_step(config, inputs, weights),
    }
    losses = {name: step().item() for name, step in sides.items()}  # warms up
    assert max(losses.values()) - min(losses.values()) < 1e-4, losses
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        names = list(sides)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            spent[name].append(cpu_seconds(sides[name]))
        print("  " + "  ".join(f"{name} {times[-1]:6.3f} s" for name, times in spent.items()))
    ratios = {
        key: statistics.median(above / below for above, below in zip(spent[one], spent[other], strict=True))
        for key, one, other in (
            ("step_vs_open_clip", "open_clip", "packed"),
            ("step_vs_open_clip_padded", "open_clip", "padded"),
            ("accumulation_2_vs_1", "in two parts", "packed"),
        )
    }
    mean_length = (tokens.argmax(dim=1) + 1).double().mean().item()
    report("step", ratios, pairs=num_pairs, texts=source, mean_length=round(mean_length, 1), threads=1)


if __name__ == "__main__":
    main()
