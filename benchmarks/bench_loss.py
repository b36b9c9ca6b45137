"""The contrastive loss, forward and backward on a CPU: chunked beside the reference and beside open_clip's ClipLoss.

Keys: chunked_time_vs_reference, chunked_memory_vs_reference, chunked_time_vs_open_clip (below 1: chunked takes less).
With --gpu it measures the fused kernels instead (loss_on_gpu.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from harness import paired, quick_flag, report
from torch.nn import functional as F

from train.loss import contrastive_loss


def inputs(num_pairs: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit vectors and a scale as they stand in the middle of a training."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(num_pairs, width), dim=1)
    text = F.normalize(image + 0.8 * torch.randn(num_pairs, width), dim=1)
    return image.requires_grad_(), text.requires_grad_(), torch.tensor(50.0, requires_grad=True)


def ours(impl: str, num_pairs: int, width: int) -> None:
    """One forward and backward pass of our loss."""
    image, text, scale = inputs(num_pairs, width)
    contrastive_loss(image, text, scale, impl=impl).backward()  # type: ignore[arg-type]


def open_clip_loss(num_pairs: int, width: int) -> None:
    """The same with open_clip's."""
    from open_clip.loss import ClipLoss

    image, text, scale = inputs(num_pairs, width)
    ClipLoss()(image, text, scale).backward()


def extra_memory(impl: str, num_pairs: int, width: int) -> float:
    """How far one pass raises the peak of the resident memory above what stood before it, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is resident now
    before = peak_kb()
    ours(impl, num_pairs, width)
    return (peak_kb() - before) / 1024


def peak_kb() -> int:
    """The process's peak resident memory."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def measured_memory(impl: str, num_pairs: int, width: int) -> float:
    """`extra_memory` in a process of its own, which has warmed up on a small batch."""
    command = [sys.executable, __file__, "memory", impl, str(num_pairs), str(width)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    """Measures and reports."""
    quick = quick_flag(__doc__)
    num_pairs, width, rounds = (2048, 512, 5) if quick else (8192, 512, 5)
    reference = paired(lambda: ours("chunked", num_pairs, width), lambda: ours("reference", num_pairs, width), rounds)
    peer = paired(lambda: ours("chunked", num_pairs, width), lambda: open_clip_loss(num_pairs, width), rounds)
    memory = {impl: measured_memory(impl, num_pairs, width) for impl in ("chunked", "reference")}
    print(f"N = {num_pairs}, D = {width}, float32, {torch.get_num_threads()} threads, median of {rounds} pairs")
    print(f"  chunked    {reference.ours_s:7.3f} s  {memory['chunked']:8.1f} MB extra")
    print(f"  reference  {reference.peer_s:7.3f} s  {memory['reference']:8.1f} MB extra")
    print(f"  open_clip  {peer.peer_s:7.3f} s")
    ratios = {
        "chunked_time_vs_reference": 1 / reference.speed_ratio,
        "chunked_memory_vs_reference": memory["chunked"] / memory["reference"],
        "chunked_time_vs_open_clip": 1 / peer.speed_ratio,
    }
    report("loss", ratios, pairs=num_pairs, width=width)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        ours(sys.argv[2], 64, 512)
        print(extra_memory(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    elif sys.argv[1:2] == ["--gpu"]:
        import loss_on_gpu

        loss_on_gpu.main()
    else:
        main()
