"""A tiny descriptor for tests: the image's coarse colours as a vector, saved as TorchScript."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Coarse(nn.Module):
    """[B, 3, S, S] -> [B, 3 * side * side]: how far each cell is from the image's mean colour."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """The cells, one behind the other."""
        cells = F.adaptive_avg_pool2d(x, self.side)
        return (cells - cells.mean((2, 3), keepdim=True) + self.bias).flatten(1)


def write_descriptor(path: Path, side: int = 6, image_px: int = 48) -> str:
    """The path of a descriptor that finds copies by coarse colours."""
    torch.jit.script(Coarse(side).eval()).save(str(path))
    notes = {"image_px": image_px, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    path.with_suffix(".json").write_text(json.dumps(notes))
    return str(path)
