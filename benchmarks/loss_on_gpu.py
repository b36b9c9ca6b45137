"""The contrastive loss, forward and backward, on a GPU: `PYTHONPATH=. python3 benchmarks/bench_loss.py --gpu`.

The fused kernels on float32 features, also with their normalisation, for N = 32,768 at four widths:

    errors   of the loss and each gradient against float64 truth, beside open_clip's arithmetic in fp16 and in bf16
    times    ms, TFLOP/s of the 8N²D operations, extra memory (above inputs and gradients), beside the peers below
    large    N = 262,144 at D = 512
    settings what other tiles, warps, registers and panels would take; nothing depends on it

Peers, written out here as neither is on every GPU machine. open_clip: both logit matrices by a product of their own
under bf16 autocast, two cross entropies in fp32 (its ClipLoss in one process). Inf-CL's scheme: TF32 products of
float32 features, each direction for itself, the backward pass once for queries and once for keys, 20N²D operations;
here with the library's products on blocks of rows, and its own kernels besides where `inf_cl` is installed.

Keys: for each width, the figures and the peers' time over ours. Written to results/<GPU>-loss-<date>.json.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import results_path
from torch import Tensor
from torch.nn import functional as F

from train.loss import contrastive_loss, fused

DEVICE = "cuda"
NUM_PAIRS, LARGE = 32_768, 262_144
WIDTHS = (512, 640, 768, 1024)
ROUNDS, WARM_UP = 20, 3
BLOCK_ROWS = 4096  # of the scheme after Inf-CL
BOUND_MS, BOUND_MB = 9.0, 200.0  # of N = 32,768 and D = 512 on an H200
SETTINGS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "128 registers": {"num_warps": 8, "num_stages": 3, "maxnreg": 128},
    "two stages, 128 registers": {"num_warps": 8, "num_stages": 2, "maxnreg": 128},
    "four stages": {"num_warps": 8, "num_stages": 4},
    "16 warps": {"num_warps": 16, "num_stages": 3},
    "16 warps, tiles 128x256": {"num_warps": 16, "num_stages": 3, "TILE_COLUMNS": 256},
    "16 warps, tiles 256x128": {"num_warps": 16, "num_stages": 3, "TILE_ROWS": 256},
    "steps of 32, four stages": {"num_warps": 8, "num_stages": 4, "STEP": 32},
    "one program a row of tiles": {"PROGRAMS": 1},
    "panels 1024x32768": {"PANEL_ROWS": 1024, "PANEL_COLUMNS": 32_768},
    "panels 2048x16384": {"PANEL_ROWS": 2048, "PANEL_COLUMNS": 16_384},
    "panels 4096x8192": {"PANEL_ROWS": 4096, "PANEL_COLUMNS": 8192},
    "panels 4096x4096": {"PANEL_ROWS": 4096, "PANEL_COLUMNS": 4096},
    "panels 16384x2048": {"PANEL_ROWS": 16_384, "PANEL_COLUMNS": 2048},
}
Inputs = tuple[Tensor, Tensor, Tensor]
LossOf = Callable[[Tensor, Tensor, Tensor], Tensor]


def inputs(num_pairs: int, width: int, dtype: torch.dtype, scale: float = 100.0) -> Inputs:
    """Unit vectors, each text at a cosine of about 0.2 to its image, and by default a scale as late in a training: of
    32,768 texts another one is about as near, so neither the loss nor a gradient is almost nothing."""
    torch.manual_seed(0)
    image = F.normalize(torch.randn(num_pairs, width, device=DEVICE), dim=1)
    text = F.normalize(image + 5 * torch.randn(num_pairs, width, device=DEVICE) / width**0.5, dim=1)
    scalar = torch.tensor(scale, device=DEVICE, dtype=torch.promote_types(dtype, torch.float32), requires_grad=True)
    return image.to(dtype).requires_grad_(), text.to(dtype).requires_grad_(), scalar


our_loss: LossOf = partial(contrastive_loss, impl="fused")
our_normalising_loss: LossOf = partial(contrastive_loss, impl="fused", normalize=True)


def open_clip_loss(image: Tensor, text: Tensor, scale: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The arithmetic of open_clip's ClipLoss in one process, under autocast."""
    with torch.autocast(DEVICE, dtype):
        logits_per_image, logits_per_text = scale * image @ text.T, scale * text @ image.T
        own = torch.arange(len(image), device=image.device)
        return (F.cross_entropy(logits_per_image, own) + F.cross_entropy(logits_per_text, own)) / 2


def inf_cl_scheme_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Both directions after Inf-CL's scheme; see _LogSumExp."""
    total = torch.zeros((), device=DEVICE)
    for query, key in ((scale * image, text), (scale * text, image)):
        log_sum_exp: Tensor = _LogSumExp.apply(query, key)  # type: ignore[no-untyped-call]
        total = total + (log_sum_exp - (query * key).sum(1)).mean() / 2
    return total


class _LogSumExp(torch.autograd.Function):
    """Each query's log-sum-exp over all keys; only the result is kept, and each gradient makes all logits anew."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor) -> Tensor:
        result = torch.cat([(rows @ key.T).logsumexp(1) for rows in torch.split(query, BLOCK_ROWS)])
        ctx.save_for_backward(query, key, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        query, key, result = ctx.saved_tensors
        blocks = list(zip(*(torch.split(tensor, BLOCK_ROWS) for tensor in (query, result, grad)), strict=True))
        query_grad = torch.cat([_weights(rows, key, *rest) @ key for rows, *rest in blocks])
        key_grad = torch.zeros_like(key)
        for rows, *rest in blocks:
            key_grad.addmm_(_weights(rows, key, *rest).T, rows)
        return query_grad, key_grad


def _weights(query: Tensor, key: Tensor, log_sum_exp: Tensor, grad: Tensor) -> Tensor:
    return (query @ key.T).sub_(log_sum_exp[:, None]).exp_().mul_(grad[:, None])


def inf_cl_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Both directions by Inf-CL's own kernels."""
    from inf_cl.flash import cal_flash_loss

    both = cal_flash_loss(image, text, scale=scale) + cal_flash_loss(text, image, scale=scale)
    return both.mean() / 2  # type: ignore[no-any-return]


def gradients(loss_of: LossOf, given: Inputs) -> dict[str, Tensor]:
    """The loss and its gradients."""
    loss = loss_of(*given)
    return dict(
        zip(("loss", "image", "text", "scale"), (loss.detach(), *torch.autograd.grad(loss, given)), strict=True)
    )


def relative_errors(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """|found - truth| / |truth| of each."""
    return {name: ((found[name].double() - true).norm() / true.norm()).item() for name, true in truth.items()}


def errors(num_pairs: int, width: int, scale: float) -> dict[str, dict[str, float]]:
    """Of the fused kernels and of open_clip's arithmetic in half precision, against the chunked loss in float64 on the
    same float32 features. Raises AssertionError where a second run of the kernels differs in a bit."""
    given = inputs(num_pairs, width, torch.float32, scale)
    truth = gradients(partial(contrastive_loss, impl="chunked"), _copied(given, 1, torch.float64))
    found = gradients(our_loss, given)
    again = gradients(our_loss, given)
    assert all(torch.equal(found[name], again[name]) for name in found), "two runs of the kernels differ"
    table = {"fused": relative_errors(found, truth)}
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        table[f"open_clip {name}"] = relative_errors(gradients(partial(open_clip_loss, dtype=dtype), given), truth)
    longer = _copied(given, 7, torch.float32)
    truth = gradients(partial(contrastive_loss, impl="chunked", normalize=True), _copied(longer, 1, torch.float64))
    table["fused, normalising"] = relative_errors(gradients(our_normalising_loss, longer), truth)
    return table


def _copied(given: Inputs, length: float, dtype: torch.dtype) -> Inputs:
    image, text, scale = (tensor.detach().to(dtype) for tensor in given)
    return (image * length).requires_grad_(), (text * length).requires_grad_(), scale.clone().requires_grad_()


def measure(loss_of: LossOf, given: Inputs, rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of a forward pass and of both passes, and the memory above inputs and gradients in MB."""
    for _ in range(WARM_UP):
        loss_of(*given).backward()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    resident = torch.cuda.memory_allocated()  # inputs, their gradients, and the libraries' own room
    forward, both = [], []
    for _ in range(rounds):
        for tensor in given:
            tensor.grad = None
        start, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        start.record()
        loss = loss_of(*given)
        middle.record()
        loss.backward()
        end.record()
        del loss
        torch.cuda.synchronize()
        forward.append(start.elapsed_time(middle))
        both.append(start.elapsed_time(end))
    extra = torch.cuda.max_memory_allocated() - resident
    return {"forward_ms": statistics.median(forward), "ms": statistics.median(both), "extra_mb": extra / 1e6}


def compare(width: int) -> dict[str, float]:
    """Ours beside the peers at one width."""
    given = inputs(NUM_PAIRS, width, torch.float32)
    ours = measure(our_loss, given)
    found = {f"fused_{width}_{name}": value for name, value in ours.items()}
    found[f"fused_{width}_tflops"] = 8 * NUM_PAIRS**2 * width / ours["ms"] / 1e9
    found[f"fused_normalising_{width}_ms"] = measure(our_normalising_loss, given)["ms"]
    peers = {"open_clip": open_clip_loss, "inf_cl_scheme": inf_cl_scheme_loss}
    if importlib.util.find_spec("inf_cl") and width % 256 == 0:
        peers["inf_cl"] = inf_cl_loss
    torch.set_float32_matmul_precision("high")  # TF32, for Inf-CL's
    for name, peer in peers.items():
        theirs = measure(peer, given, rounds=5)
        found |= {f"{name}_{width}_{figure}": value for figure, value in theirs.items()}
        found[f"{name}_{width}_vs_fused"] = theirs["ms"] / ours["ms"]
    torch.set_float32_matmul_precision("highest")
    return found


@contextlib.contextmanager
def setting(values: dict[str, Any]) -> Iterator[None]:
    """Within it, the kernels run with other sizes (in capitals) or other options of a launch."""
    options = {name: value for name, value in values.items() if name.islower()}
    changed = {name: value for name, value in values.items() if name.isupper()}
    if options:
        changed["launch_options"] = lambda generation: options
    before = {name: getattr(fused, name) for name in changed}
    for name, value in changed.items():
        setattr(fused, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(fused, name, value)


def write(found: dict[str, Any]) -> Path:
    """Writes what was found so far; the name says which GPU, and the day."""
    path = results_path("loss", found["gpu"])
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def main() -> None:
    """Measures, prints as it goes, and writes results/<GPU>-loss-<date>.json after each part."""
    if not torch.cuda.is_available():
        print("no GPU: what this measures is a GPU's; run it on a machine with one")
        print(json.dumps({"benchmark": "loss", "skipped": "no GPU"}))
        return
    found: dict[str, Any] = {"benchmark": "loss", "gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    found["pairs"] = NUM_PAIRS
    found["errors"] = all_errors()
    write(found)
    for width in WIDTHS:
        figures = compare(width)
        found |= figures
        print("  ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
        write(found)
    found["fused_512_within_bounds"] = found["fused_512_ms"] <= BOUND_MS and found["fused_512_extra_mb"] <= BOUND_MB
    large = measure(our_loss, inputs(LARGE, 512, torch.float32), rounds=3)
    found |= {"fused_262144_512_s": large["ms"] / 1000, "fused_262144_512_extra_mb": large["extra_mb"]}
    print(f"N={LARGE} D=512  {large['ms'] / 1000:.3f} s  {large['extra_mb']:.0f} MB extra", flush=True)
    write(found)
    found["settings"] = all_settings()
    print(f"written to {write(found)}")
    figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
    print(json.dumps({key: value for key, value in figures.items() if not isinstance(value, dict)}))


def all_errors() -> dict[str, dict[str, float]]:
    """`errors` of sizes with and without remainders, by a line that says which."""
    table = {}
    for num_pairs, width, scale in ((1000, 512, 1.0), (4096, 640, 100.0), (NUM_PAIRS, 512, 100.0), (5000, 1000, 30.0)):
        for name, row in errors(num_pairs, width, scale).items():
            table[f"N={num_pairs} D={width} scale={scale:g}: {name}"] = row
            shown = "  ".join(f"{part} {error:.1e}" for part, error in row.items())
            print(f"N={num_pairs:6} D={width:4} scale={scale:3g}  {name:18}  {shown}", flush=True)
    return table


def all_settings() -> dict[str, dict[str, float]]:
    """What `measure` finds with each of SETTINGS."""
    given = inputs(NUM_PAIRS, 512, torch.float32)
    table = {}
    for name, values in SETTINGS.items():
        with setting(values):
            table[name] = measure(our_loss, given, rounds=10)
        print(f"{name:28} {table[name]['forward_ms']:7.3f} ms forward  {table[name]['ms']:7.3f} ms", flush=True)
    return table
