"""Learned position embeddings of an image tower at another resolution.

Shapes: P places of a square grid · G its side · W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_positions(positions_PW: Tensor, grid: int) -> Tensor:
    """[1 + grid², W] from [1 + P, W]: the first row (class token, or mean) stays, the grid's are resized by antialiased
    bicubic interpolation, as between ViT-L/14 and ViT-L/14@336px. Raises ValueError where P is no square."""
    first_1W, places_PW = positions_PW[:1], positions_PW[1:]
    old_grid = math.isqrt(len(places_PW))
    if old_grid**2 != len(places_PW):
        raise ValueError(f"position embeddings of shape {tuple(positions_PW.shape)}: expected 1 + a square number")
    if old_grid == grid:
        return positions_PW
    map_1WGG = places_PW.float().T.reshape(1, -1, old_grid, old_grid)
    map_1WGG = F.interpolate(map_1WGG, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first_1W, map_1WGG.flatten(2)[0].T.to(positions_PW.dtype)])
