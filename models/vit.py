"""The image tower: a Vision Transformer with a layer norm before the blocks (paper, section 2.4).

Shapes: B batch · S image side in pixels · G patches along a side · P patches · K patches kept of them · C numbers of a
patch · W width.

Learned position embeddings of an image tower at another resolution.

Shapes: P places of a square grid · G its side · W width.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Activation, VisionTransformerConfig
from models.transformer import ResidualAttentionBlock, Transformer


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


class VisionTransformer(nn.Module):
    """Images [B, 3, image_px, image_px] -> embeddings [B, embed_dim], not normalised.

    With `kept`, int64 [B, K], only these patches of each image are run, counted row by row, and the class token (Li
    et al. 2022, FLIP, arXiv 2212.00794); the others cost nothing.
    """

    def __init__(self, config: VisionTransformerConfig, embed_dim: int, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width, kernel_size=config.patch_px, stride=config.patch_px, bias=False)
        # As released: class token, positions and projection are drawn at width^-0.5, the blocks keep PyTorch's
        # defaults; only the text tower's blocks have a scheme of their own.
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(config.num_patches + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))

    def forward(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        return self.pooled(image, kept) @ self.proj

    def pooled(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        """Features before the projection, [B, width]: what the paper's linear probes see (section 3.2)."""
        pooled_BW: Tensor = self.ln_post(self._tokens(image, kept)[:, 0])
        return pooled_BW

    def feature_map(self, image: Tensor) -> Tensor:
        """What leaves the last block, [B, P, width], row by row of the image; without the class token."""
        return self._tokens(image)[:, 1:]

    def dense(self, image: Tensor) -> Tensor:
        """Patch embeddings [B, G, G, embed_dim], not normalised: in the last block each patch attends to itself alone,
        so its embedding describes the patch alone and can be compared with texts (MaskCLIP)."""
        x_BPW = self._embed_patches(image)
        B, P, _ = x_BPW.shape
        x_NW = x_BPW.flatten(0, 1)
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x_NW = block(x_NW, [(B, P)], False)
        assert isinstance(last, ResidualAttentionBlock)
        x_BPW = last.values(x_NW).view_as(x_BPW)[:, 1:]
        dense_BPE: Tensor = self.ln_post(x_BPW) @ self.proj
        return dense_BPE.view(B, self.config.grid, self.config.grid, -1)

    def resize_positions(self, image_px: int) -> None:
        """From now on takes images of another side; its positions are interpolated. Raises ConfigError where it is
        no multiple of the patch."""
        self.config = dataclasses.replace(self.config, image_px=image_px)
        self.positional_embedding = nn.Parameter(resize_positions(self.positional_embedding.detach(), self.config.grid))

    def set_checkpointing(self, enabled: bool) -> None:
        """Whether the backward pass computes each block again instead of keeping its inside."""
        self.transformer.checkpointing = enabled

    def set_compiling(self, enabled: bool) -> None:
        """Whether training's arithmetic is torch.compile's."""
        self.transformer.compiling = enabled

    def _tokens(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        """[B, 1 + P, W] behind the last block, the class token first; K in the place of P where some are kept."""
        x_BPW = self._embed_patches(image, kept)
        B, P, _ = x_BPW.shape
        x_NW: Tensor = self.transformer(x_BPW.flatten(0, 1), [(B, P)])
        return x_NW.view_as(x_BPW)

    def _embed_patches(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        px = self.config.image_px
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, px, px):
            raise ValueError(f"image of shape {tuple(image.shape)}: this tower takes [batch, 3, {px}, {px}]")
        position: Tensor = self.positional_embedding
        if kept is None:
            x_BPW = self.conv1(image).flatten(2).transpose(1, 2)
        else:
            x_BPW = F.linear(self._cut_out(image, kept), self.conv1.weight.flatten(1))
            position = F.embedding(F.pad(kept + 1, (1, 0)), position)  # the class token's is the first
        class_B1W = self.class_embedding.to(x_BPW.dtype).expand(image.shape[0], 1, -1)
        x_BPW = torch.cat([class_B1W, x_BPW], dim=1) + position
        normed_BPW: Tensor = self.ln_pre(x_BPW)
        return normed_BPW

    def _cut_out(self, image: Tensor, kept_BK: Tensor) -> Tensor:
        """[B, K, C]: the numbers of the kept patches, as the convolution's kernels lie."""
        B, G, px = len(image), self.config.grid, self.config.patch_px
        patch_BGG3SS = image.view(B, 3, G, px, G, px).permute(0, 2, 4, 1, 3, 5)
        image_B1 = torch.arange(B, device=image.device)[:, None]
        return patch_BGG3SS[image_B1, kept_BK // G, kept_BK % G].flatten(2)
