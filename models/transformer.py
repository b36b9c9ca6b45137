"""The residual attention block that both towers share.

Shapes: N rows, the tokens of all sequences one behind another · B sequences · L length · W width · H heads · C channels
of a head. Only attention looks across rows, and it does so a block of equally long sequences at a time; all else works
on the rows, so nothing is padded. Parameter names are those of OpenAI's released state dicts, so weights travel without
renaming.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from torch.utils.checkpoint import checkpoint

from models.compiling import compiled
from models.config import Activation

Blocks = Sequence[tuple[int, int]]
"""How N rows are sequences: (B, L) pairs in the rows' order, B sequences of L rows each; the B·L add up to N."""

MAX_HEAD_CHANNELS = 256  # of flash attention, which wants a multiple of 8


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
        out: Tensor = self.out_proj(self.mix(self.project(x_NW), blocks, causal))
        return out

    def project(self, x_NW: Tensor) -> Tensor:
        """[N, 3 W]: query, key and value of each row."""
        return F.linear(x_NW, self.in_proj_weight, self.in_proj_bias)

    def mix(self, qkv_N3W: Tensor, blocks: Blocks, causal: bool, bounds: Tensor | None = None) -> Tensor:
        """[N, W]: the values, mixed within each sequence. `bounds` says the same as blocks on the device: int32, where
        the sequences begin, and N; with it one kernel can take blocks of many lengths."""
        if len(blocks) == 1:
            return self._mix_alike(qkv_N3W, *blocks[0], causal)
        if bounds is not None and _flash_takes(qkv_N3W, self.heads):
            return self._mix_at_once(qkv_N3W, bounds, max(L for _, L in blocks), causal)
        parts = torch.split(qkv_N3W, [B * L for B, L in blocks])
        return torch.cat([self._mix_alike(part, B, L, causal) for part, (B, L) in zip(parts, blocks, strict=True)])

    def _mix_at_once(self, qkv_N3W: Tensor, bounds: Tensor, longest: int, causal: bool) -> Tensor:
        """[N, W] by flash attention's kernel for sequences of any lengths, in half precision."""
        q_NHC, k_NHC, v_NHC = qkv_N3W.view(len(qkv_N3W), 3, self.heads, -1).unbind(1)
        window = (-1, 0 if causal else -1)  # rows before and after itself that a row sees; -1: all
        mixed_NHC = varlen_attn(q_NHC, k_NHC, v_NHC, bounds, bounds, longest, longest, window_size=window)
        assert isinstance(mixed_NHC, Tensor)
        return mixed_NHC.flatten(1)

    def _mix_alike(self, qkv: Tensor, B: int, L: int, causal: bool) -> Tensor:
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


def _flash_takes(qkv_N3W: Tensor, heads: int) -> bool:
    channels = qkv_N3W.shape[1] // (3 * heads)
    fits = channels % 8 == 0 and channels <= MAX_HEAD_CHANNELS and qkv_N3W.dtype in (torch.float16, torch.bfloat16)
    return fits and qkv_N3W.is_cuda and _has_flash(qkv_N3W.device)


@functools.cache
def _has_flash(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


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

    def forward(self, x_NW: Tensor, blocks: Blocks, causal: bool, bounds: Tensor | None = None) -> Tensor:
        mixed_NW = self.attn.mix(self.project(x_NW), blocks, causal, bounds)
        return self.finish(x_NW, mixed_NW)

    def project(self, x_NW: Tensor) -> Tensor:
        """What stands before attention looks across the rows, [N, 3 W]."""
        return self.attn.project(self.ln_1(x_NW))

    def finish(self, x_NW: Tensor, mixed_NW: Tensor) -> Tensor:
        """What stands behind it, [N, W], from the block's input and the mixed values."""
        return self._add_mlp(x_NW + self.attn.out_proj(mixed_NW))

    def values(self, x_NW: Tensor) -> Tensor:
        """The block's output [N, W] where every row attends to itself alone, for dense use (MaskCLIP)."""
        return self._add_mlp(x_NW + self.attn.values(self.ln_1(x_NW)))

    def _add_mlp(self, x_NW: Tensor) -> Tensor:
        out: Tensor = x_NW + self.mlp(self.ln_2(x_NW))
        return out


def _run(
    block: ResidualAttentionBlock, x_NW: Tensor, blocks: Blocks, causal: bool, bounds: Tensor | None = None
) -> Tensor:
    out: Tensor = block(x_NW, blocks, causal, bounds)
    return out


def _run_compiled(
    block: ResidualAttentionBlock, x_NW: Tensor, blocks: Blocks, causal: bool, bounds: Tensor | None = None
) -> Tensor:
    """The same by the compiler. Blocks of one shape are compiled whole, once. Where each call has other lengths (then
    it has bounds), a compiler that saw them would begin anew each time: it gets what works on rows, any number of them,
    and attention is left as it is."""
    if bounds is None:
        return compiled(_run, dynamic=False)(block, x_NW, blocks, causal)
    qkv_N3W = compiled(ResidualAttentionBlock.project, dynamic=True)(block, x_NW)
    mixed_NW = block.attn.mix(qkv_N3W, blocks, causal, bounds)
    return compiled(ResidualAttentionBlock.finish, dynamic=True)(block, x_NW, mixed_NW)


class Transformer(nn.Module):
    """A stack of residual blocks, [N, W] -> [N, W]; with `causal`, a row sees none after itself.

    With `checkpointing`, the backward pass computes each residual block again instead of keeping what is inside it.
    With `compiling`, training's arithmetic is torch.compile's; evaluation, whose batches come in all sizes, stays out.
    """

    def __init__(self, width: int, layers: int, heads: int, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualAttentionBlock(width, heads, activation) for _ in range(layers))
        self.checkpointing = False
        self.compiling = False

    def forward(self, x_NW: Tensor, blocks: Blocks, causal: bool = False, bounds: Tensor | None = None) -> Tensor:
        """Sequences whose lengths differ from call to call come with `bounds`, see `Attention.mix`."""
        run = _run_compiled if self.compiling and self.training else _run
        for block in self.resblocks:
            assert isinstance(block, ResidualAttentionBlock)
            if self.checkpointing and torch.is_grad_enabled():
                x_NW = checkpoint(run, block, x_NW, blocks, causal, bounds, use_reentrant=False)
            else:
                x_NW = run(block, x_NW, blocks, causal, bounds)
        return x_NW
