"""Which part of an image is what: MaskCLIP's label maps without training (Zhou et al. 2022, arXiv 2112.01071).

The last attention's value path gives each patch an embedding of its own, which is compared with texts as CLIP compares
whole images. Shapes: K labels · N windows · S window side in pixels · G patches along it · E shared embedding · H, W
image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.clip import Clip
from models.preprocess import RESAMPLING, normalize_pixels, to_rgb
from models.text import TextTokenizer
from openwit.errors import InputError

MAX_WINDOWS = 64  # of one image: its long side is at most about so many times the short one
WINDOWS_AT_ONCE = 8


@torch.no_grad()
def embed_labels(model: Clip, tokenizer: TextTokenizer, labels: Sequence[str], prompt: str) -> Tensor:
    """Unit vectors [K, E] of the labels, each put in the place of {label} in the prompt."""
    tokens = tokenizer.encode([prompt.replace("{label}", label) for label in labels])
    return model.encode_text(tokens.to(model.device))


@torch.no_grad()
def label_map(model: Clip, image: Image.Image, label_KE: Tensor) -> Tensor:
    """int64 [H, W]: for each pixel the number of the label whose embedding is nearest, on the CPU.

    The shorter side is resized to what the model takes; along the longer one, windows of that side share it evenly, and
    where they overlap the mean counts. Similarities are interpolated bilinearly. Raises InputError where the image is
    too long and thin.
    """
    score_KHW = _scores(model, to_rgb(image), label_KE)
    size = (image.height, image.width)
    best = torch.full(size, -math.inf)
    label = torch.zeros(size, dtype=torch.int64)
    for k, score_HW in enumerate(score_KHW):  # one at a time: all of them, at the image's size, may fill the memory
        score_HW = F.interpolate(score_HW[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        better = score_HW > best
        best, label[better] = torch.where(better, score_HW, best), k
    return label


def _scores(model: Clip, image: Image.Image, label_KE: Tensor) -> Tensor:
    """Similarities [K, h, w] of the image resized to what the model takes."""
    px = model.config.vision.image_px
    windows_N3SS, corners = _windows(image, px, RESAMPLING[model.config.preprocess.interpolation])
    width, height = corners[-1][0] + px, corners[-1][1] + px
    total_KHW, count_HW = torch.zeros(len(label_KE), height, width), torch.zeros(height, width)
    label_KE = F.normalize(label_KE.to(model.device), dim=-1)
    for first in range(0, len(corners), WINDOWS_AT_ONCE):
        batch = slice(first, first + WINDOWS_AT_ONCE)
        pixels_N3SS = normalize_pixels(windows_N3SS[batch].to(model.device), model.config.preprocess)
        patch_NGGE = F.normalize(model.visual.dense(pixels_N3SS), dim=-1)
        score_NKGG = torch.einsum("nxye,ke->nkxy", patch_NGGE, label_KE)
        score_NKSS = F.interpolate(score_NKGG, size=(px, px), mode="bilinear", align_corners=False).cpu()
        for score_KSS, (left, top) in zip(score_NKSS, corners[batch], strict=True):
            total_KHW[:, top : top + px, left : left + px] += score_KSS
            count_HW[top : top + px, left : left + px] += 1
    return total_KHW / count_HW


def _windows(image: Image.Image, px: int, resample: Image.Resampling) -> tuple[Tensor, list[tuple[int, int]]]:
    """uint8 [N, 3, S, S] of the image with its shorter side resized to S, and their left upper corners."""
    scale = px / min(image.size)
    size = max(px, round(image.width * scale)), max(px, round(image.height * scale))
    num_windows = math.ceil(max(size) / px)
    if num_windows > MAX_WINDOWS:
        raise InputError(
            f"an image of {image.width}x{image.height} pixels is too long and thin; crop it to at most "
            f"{MAX_WINDOWS} times as long as wide"
        )
    if size != image.size:
        image = image.resize(size, resample)
    corners = []
    for i in range(num_windows):
        offset = round(i * (max(size) - px) / max(1, num_windows - 1))
        corners.append((offset, 0) if size[0] > size[1] else (0, offset))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return torch.stack([pixels[:, top : top + px, left : left + px] for left, top in corners]), corners
