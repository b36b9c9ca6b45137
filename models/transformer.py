"""The residual attention block that both towers share.

Shapes: B batch · L length · W width · H heads · C channels of a head. Parameter names are those of OpenAI's released
state dicts, so weights travel without renaming.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuickGelu(nn.Module):
    """x · sigmoid(1.702 x), CLIP's activation. The exact GELU shifts features by several hundredths in silence."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention, [B, L, W] -> [B, L, W]; query, key and value stand in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x_BLW: Tensor, causal: bool) -> Tensor:
        B, L, W = x_BLW.shape
        qkv = F.linear(x_BLW, self.in_proj_weight, self.in_proj_bias)
        q_BHLC, k_BHLC, v_BHLC = qkv.view(B, L, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        mixed_BHLC = F.scaled_dot_product_attention(q_BHLC, k_BHLC, v_BHLC, is_causal=causal)
        out: Tensor = self.out_proj(mixed_BHLC.transpose(1, 2).reshape(B, L, W))
        return out


class Mlp(nn.Module):
    """Two layers, four times the width between them; [B, L, W] -> [B, L, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = QuickGelu()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x_BLW: Tensor) -> Tensor:
        out: Tensor = self.c_proj(self.gelu(self.c_fc(x_BLW)))
        return out


class ResidualAttentionBlock(nn.Module):
    """Pre-norm attention and MLP of four times the width, each added to its input; [B, L, W] -> [B, L, W]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x_BLW: Tensor, causal: bool) -> Tensor:
        x_BLW = x_BLW + self.attn(self.ln_1(x_BLW), causal)
        out: Tensor = x_BLW + self.mlp(self.ln_2(x_BLW))
        return out


class Transformer(nn.Module):
    """A stack of blocks, [B, L, W] -> [B, L, W]; with `causal`, a position sees none after itself."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads) for _ in range(layers))

    def forward(self, x_BLW: Tensor, causal: bool = False) -> Tensor:
        for block in self.resblocks:
            x_BLW = block(x_BLW, causal)
        return x_BLW
