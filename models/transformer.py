"""The residual attention block that both towers share.

Shapes: N rows, the tokens of all sequences one behind another · B sequences · L length · W width · H heads · C channels
of a head. Only attention looks across rows, and it does so a block of equally long sequences at a time; all else works
on the rows, so nothing is padded. Parameter names are those of OpenAI's released state dicts, so weights travel without
renaming.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.config import Activation

Blocks = Sequence[tuple[int, int]]
"""How N rows are sequences: (B, L) pairs in the rows' order, B sequences of L rows each; the B·L add up to N."""


class QuickGelu(nn.Module):
    """x · sigmoid(1.702 x), CLIP's activation. The exact GELU shifts features by several hundredths in silence."""

    def forward(self, x: Tensor) -> Tensor:
        # The same number by silu(z) = z · sigmoid(z), of which autograd keeps one tensor, not two.
        return F.silu(1.702 * x) / 1.702


class Attention(nn.Module):
    """Multi-head self-attention, [N, W] -> [N, W]; query, key and value stand in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x_NW: Tensor, blocks: Blocks, causal: bool) -> Tensor:
        qkv_N3W = F.linear(x_NW, self.in_proj_weight, self.in_proj_bias)
        if len(blocks) == 1:
            mixed_NW = self._mix(qkv_N3W, *blocks[0], causal)
        else:
            parts = torch.split(qkv_N3W, [B * L for B, L in blocks])
            mixed_NW = torch.cat([self._mix(part, B, L, causal) for part, (B, L) in zip(parts, blocks, strict=True)])
        out: Tensor = self.out_proj(mixed_NW)
        return out

    def _mix(self, qkv: Tensor, B: int, L: int, causal: bool) -> Tensor:
        """[B·L, W]: the values of one block of sequences, mixed within each."""
        q_BHLC, k_BHLC, v_BHLC = qkv.view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed_BHLC = F.scaled_dot_product_attention(q_BHLC, k_BHLC, v_BHLC, is_causal=causal)
        return mixed_BHLC.transpose(1, 2).reshape(B * L, -1)

    def values(self, x_NW: Tensor) -> Tensor:
        """[N, W]: what comes out where every row attends to itself alone."""
        _, _, weight = self.in_proj_weight.chunk(3)
        _, _, bias = self.in_proj_bias.chunk(3)
        out: Tensor = self.out_proj(F.linear(x_NW, weight, bias))
        return out


class Mlp(nn.Module):
    """Two layers, four times the width between them; [N, W] -> [N, W]."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = QuickGelu() if activation == "quick_gelu" else nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x_NW: Tensor) -> Tensor:
        out: Tensor = self.c_proj(self.gelu(self.c_fc(x_NW)))
        return out


class ResidualAttentionBlock(nn.Module):
    """Pre-norm attention and MLP of four times the width, each added to its input; [N, W] -> [N, W]."""

    def __init__(self, width: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, activation)

    def forward(self, x_NW: Tensor, blocks: Blocks, causal: bool) -> Tensor:
        return self._add_mlp(x_NW + self.attn(self.ln_1(x_NW), blocks, causal))

    def values(self, x_NW: Tensor) -> Tensor:
        """The block's output [N, W] where every row attends to itself alone, for dense use (MaskCLIP)."""
        return self._add_mlp(x_NW + self.attn.values(self.ln_1(x_NW)))

    def _add_mlp(self, x_NW: Tensor) -> Tensor:
        out: Tensor = x_NW + self.mlp(self.ln_2(x_NW))
        return out


class Transformer(nn.Module):
    """A stack of residual blocks, [N, W] -> [N, W]; with `causal`, a row sees none after itself.

    With `checkpointing`, the backward pass computes each residual block again instead of keeping what is inside it.
    """

    def __init__(self, width: int, layers: int, heads: int, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads, activation) for _ in range(layers))
        self.checkpointing = False

    def forward(self, x_NW: Tensor, blocks: Blocks, causal: bool = False) -> Tensor:
        for block in self.resblocks:
            if self.checkpointing and torch.is_grad_enabled():
                x_NW = checkpoint(block, x_NW, blocks, causal, use_reentrant=False)
            else:
                x_NW = block(x_NW, blocks, causal)
        return x_NW
