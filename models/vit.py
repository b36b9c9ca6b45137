"""The image tower: a Vision Transformer with a layer norm before the blocks (paper, section 2.4).

Shapes: B batch · P patches · W width · E shared embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.config import VisionTransformerConfig
from models.transformer import Transformer


class VisionTransformer(nn.Module):
    """Pictures [B, 3, image_px, image_px] -> embeddings [B, embed_dim], not normalised."""

    def __init__(self, config: VisionTransformerConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width, kernel_size=config.patch_px, stride=config.patch_px, bias=False)
        # As released: class token, positions and projection are drawn at width^-0.5, the blocks keep PyTorch's
        # defaults; only the text tower's blocks have a scheme of their own.
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(config.num_patches + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, config.heads)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))

    def pooled(self, image: Tensor) -> Tensor:
        """Features before the projection, [B, width]: what the paper's linear probes see (section 3.2)."""
        px = self.config.image_px
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, px, px):
            raise ValueError(f"image of shape {tuple(image.shape)}: this tower takes [batch, 3, {px}, {px}]")
        x_BPW = self.conv1(image).flatten(2).transpose(1, 2)
        class_B1W = self.class_embedding.to(x_BPW.dtype).expand(len(image), 1, -1)
        x_BPW = torch.cat([class_B1W, x_BPW], dim=1) + self.positional_embedding
        x_BPW = self.transformer(self.ln_pre(x_BPW))
        pooled_BW: Tensor = self.ln_post(x_BPW[:, 0])
        return pooled_BW

    def forward(self, image: Tensor) -> Tensor:
        return self.pooled(image) @ self.proj
