"""The networks, forward and backward: packed texts beside texts padded to 77, ViT-B/32 and RN50 beside open_clip's.

Keys: text_packing, vit_b32_vs_open_clip, rn50_vs_open_clip (peer's time / ours, above 1: ours takes less; CPU time on a
CPU, seconds of the device with --gpu, where both sides are compiled and run in bfloat16).
"""

from __future__ import annotations

import argparse
import gc
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from harness import report
from torch import Tensor, nn

import models
from models.text import TextTower

CONTEXT_LENGTH = 77
START, END = 49406, 49407


def web_texts(num_texts: int) -> Tensor:
    """Token ids [B, 77] of made texts whose lengths are spread as those of captions from the web: log-normal, 18 tokens
    in the mean with start and end token, cut at 77."""
    random = torch.Generator().manual_seed(0)
    lengths = (torch.randn(num_texts, generator=random) * 0.65 + math.log(13.0)).exp().round() + 2
    tokens = torch.zeros(num_texts, CONTEXT_LENGTH, dtype=torch.int64)
    for row, length in zip(tokens, lengths.clamp(3, CONTEXT_LENGTH).int().tolist(), strict=True):
        row[: length - 1] = torch.randint(1, START, (length - 1,), generator=random)
        row[0], row[length - 1] = START, END
    return tokens


def ratio(ours: Callable[[], object], peer: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    """The median over the rounds of peer / ours; both run in turn, each time the other one first."""
    ours()
    peer()
    ratios = []
    for turn in range(rounds):
        sides = (ours, peer) if turn % 2 == 0 else (peer, ours)
        spent = {}
        for side in sides:
            before = clock()
            side()
            spent[side] = clock() - before
        ratios.append(spent[peer] / spent[ours])
        print(f"    ours {spent[ours]:7.3f} s  peer {spent[peer]:7.3f} s  ratio {ratios[-1]:.3f}")
    return statistics.median(ratios)


def text_pass(tower: TextTower, tokens: Tensor, layout: str) -> None:
    """Forward and backward of the text tower in that layout."""
    tower.layout = layout  # type: ignore[assignment]
    tower.zero_grad()
    tower.embed_text(tokens).square().sum().backward()


def clip_pass(network: nn.Module, image: Tensor, tokens: Tensor) -> None:
    """Forward and backward of both towers through all logits of the batch."""
    network.zero_grad()
    with torch.autocast(image.device.type, torch.bfloat16, enabled=image.is_cuda):
        image_BD, text_BD, scale = network(image, tokens)[:3]
    logits_BB = scale * image_BD.float() @ text_BD.float().T
    (logits_BB.logsumexp(0) + logits_BB.logsumexp(1) - 2 * logits_BB.diagonal()).mean().backward()


def against_open_clip(name: str, peer_name: str, batch: int, rounds: int, device: str) -> float:
    """open_clip's time / ours, both of the same random weights on the same images and texts."""
    import open_clip

    torch.manual_seed(0)
    ours = models.create(name).to(device)
    peer = open_clip.create_model(peer_name, device=device)
    peer.load_state_dict(ours.state_dict())
    peer.train()
    px = ours.config.vision.image_px
    image, tokens = torch.randn(batch, 3, px, px, device=device), web_texts(batch).to(device)
    clock = time.process_time
    networks: list[nn.Module] = [ours, peer]
    if device == "cuda":
        ours.layout = "padded"  # shapes that do not change are what a compiler wants
        networks = [torch.compile(network) for network in networks]  # type: ignore[misc]
        clock = synchronised
    passes = [partial(clip_pass, network, image, tokens) for network in networks]
    return ratio(passes[0], passes[1], rounds, clock)


def synchronised() -> float:
    """Seconds when the GPU has done all that it was asked for."""
    torch.cuda.synchronize()
    return time.perf_counter()


def packing(batch: int, rounds: int, device: str) -> tuple[float, float]:
    """Time padded to 77 / packed, of the text tower of ViT-B/32; and the texts' mean length."""
    torch.manual_seed(0)
    config = models.config_of("ViT-B/32")
    tower, tokens = TextTower(config.text, config.embed_dim).to(device), web_texts(batch).to(device)
    passes = [partial(text_pass, tower, tokens, layout) for layout in ("packed", "padded")]
    clock = synchronised if device == "cuda" else time.process_time
    return ratio(passes[0], passes[1], rounds, clock), (tokens.argmax(dim=1) + 1).double().mean().item()


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small batches, one round: under 40 s on two cores")
    parser.add_argument("--gpu", action="store_true", help="on a GPU, larger batches, torch.compile on both sides")
    parser.add_argument("--only", choices=("text_packing", "vit_b32_vs_open_clip", "rn50_vs_open_clip"), help="one key")
    options = parser.parse_args()
    device, rounds = ("cuda", 20) if options.gpu else ("cpu", 1 if options.quick else 5)
    batch, num_texts = (512, 4096) if options.gpu else (4, 24) if options.quick else (32, 128)
    if device == "cpu":
        torch.set_num_threads(1)  # else CPU time holds what threads wait for each other
    ratios: dict[str, float] = {}
    details: dict[str, object] = {"device": device, "batch": batch, "texts": num_texts}
    if options.only in (None, "text_packing"):
        print(f"text tower, {num_texts} texts, packed (ours) and padded to {CONTEXT_LENGTH} (peer)")
        ratios["text_packing"], details["mean_length"] = packing(num_texts, rounds, device)
    for key, name, peer_name in (
        ("vit_b32_vs_open_clip", "ViT-B/32", "ViT-B-32-quickgelu"),
        ("rn50_vs_open_clip", "RN50", "RN50-quickgelu"),
    ):
        if options.only in (None, key):
            gc.collect()
            print(f"{name}, batch {batch}, ours and open_clip's (peer)")
            ratios[key] = against_open_clip(name, peer_name, batch, rounds, device)
    report("models", ratios, **details, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
