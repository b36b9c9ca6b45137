"""The contrastive loss, forward and backward, on a GPU: `bench_loss.py --gpu`.

Ours (fused) beside open_clip's ClipLoss on bf16 features, and Inf-CL's (`pip install inf-cl`) where it is installed, on
the same unit vectors. Keys: for each width, ms, TFLOP/s of the 8N²D operations, extra memory (above inputs and
gradients) and the peers' time over ours; and whether N = 262,144 runs.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from train.loss import contrastive_loss

RESULTS = Path(__file__).parent / "results"
NUM_PAIRS, LARGE = 32_768, 262_144
WIDTHS = (512, 640, 768, 1024)
ROUNDS = 20
Inputs = tuple[Tensor, Tensor, Tensor]


def inputs(num_pairs: int, width: int, dtype: torch.dtype) -> Inputs:
    """Unit vectors and a scale as they stand late in a training."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(num_pairs, width, device="cuda"), dim=1)
    text = F.normalize(image + 0.8 * torch.randn(num_pairs, width, device="cuda") / width**0.5, dim=1)
    scale = torch.tensor(100.0, device="cuda", requires_grad=True)
    return image.to(dtype).requires_grad_(), text.to(dtype).requires_grad_(), scale


def fused(image: Tensor, text: Tensor, scale: Tensor) -> None:
    """One forward and backward pass of ours."""
    contrastive_loss(image, text, scale, impl="fused").backward()  # type: ignore[no-untyped-call]


def open_clip_loss(image: Tensor, text: Tensor, scale: Tensor) -> None:
    """The same with open_clip's."""
    from open_clip.loss import ClipLoss

    with torch.autocast("cuda", torch.bfloat16):
        loss = ClipLoss()(image, text, scale)
    loss.backward()


def inf_cl_loss(image: Tensor, text: Tensor, scale: Tensor) -> None:
    """The same with Inf-CL's kernels, both directions."""
    from inf_cl.flash import cal_flash_loss

    loss = (cal_flash_loss(image, text, scale=scale) + cal_flash_loss(text, image, scale=scale)) / 2
    loss.mean().backward()


def measure(work: Callable[[Tensor, Tensor, Tensor], None], given: Inputs, rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of a pass, and the memory above inputs and gradients in MB."""
    for _ in range(3):
        work(*given)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    resident = torch.cuda.memory_allocated()  # inputs and their gradients
    times = []
    for _ in range(rounds):
        for tensor in given:
            tensor.grad = None
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()  # type: ignore[no-untyped-call]
        work(*given)
        end.record()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))  # type: ignore[no-untyped-call]
    extra = torch.cuda.max_memory_allocated() - resident
    return {"ms": statistics.median(times), "extra_mb": extra / 1e6}


def compare(width: int) -> dict[str, float]:
    """Ours beside the peers at one width."""
    ours = measure(fused, inputs(NUM_PAIRS, width, torch.float32))
    found = {
        f"fused_{width}_ms": ours["ms"],
        f"fused_{width}_tflops": 8 * NUM_PAIRS**2 * width / ours["ms"] / 1e9,
        f"fused_{width}_extra_mb": ours["extra_mb"],
        f"open_clip_{width}_vs_fused": measure(open_clip_loss, inputs(NUM_PAIRS, width, torch.bfloat16))["ms"]
        / ours["ms"],
    }
    if importlib.util.find_spec("inf_cl") and width % 256 == 0:
        peer = measure(inf_cl_loss, inputs(NUM_PAIRS, width, torch.float32), rounds=5)
        found[f"inf_cl_{width}_vs_fused"] = peer["ms"] / ours["ms"]
    return found


def main() -> None:
    """Measures, prints, and writes results/<GPU>-loss-<date>.json."""
    found: dict[str, float | str] = {}
    for width in WIDTHS:
        found.update(compare(width))
    large = measure(fused, inputs(LARGE, 512, torch.float16), rounds=3)
    found |= {"fused_262144_512_s": large["ms"] / 1000, "fused_262144_512_extra_mb": large["extra_mb"]}
    name = torch.cuda.get_device_name()
    found |= {"benchmark": "loss", "gpu": name, "torch": torch.__version__, "pairs": str(NUM_PAIRS)}
    RESULTS.mkdir(exist_ok=True)
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    path = RESULTS / f"{name.lower().replace(' ', '-')}-loss-{day}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}))
