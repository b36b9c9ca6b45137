"""The image tower of the RN models: a ResNet with three changes (paper, section 2.4).

The stem has three convolutions; wherever a block strides, an average pool does it, also beside the block (anti-aliased
convolutions and ResNet-D); and the last pooling is attention whose query is the mean of the places.

Shapes: B batch · C channels · S side · G places along the last map's side · P places · H heads. Images and feature
maps are [B, C, S, S] stored with the channels last. Kernels are stored plainly: an optimizer's statistics, read back
from a checkpoint, must lie as the weights do.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.compiling import compiled
from models.config import ResNetConfig
from models.vit import resize_positions


class Bottleneck(nn.Module):
    """[B, in_channels, S, S] -> [B, 4 · channels, S / stride, S / stride]."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            pool, conv = nn.AvgPool2d(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.downsample = nn.Sequential(OrderedDict({"-1": pool, "0": conv, "1": nn.BatchNorm2d(out_channels)}))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(self.avgpool(out)))
        return F.relu(out + self.downsample(x), inplace=True)


class AttentionPool(nn.Module):
    """[B, C, G, G] -> [B, embed_dim]: one query, the mean of the places, attends to itself and all places."""

    def __init__(self, grid: int, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(channels**-0.5 * torch.randn(grid**2 + 1, channels))
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(self.pooled(x))
        return out

    def pooled(self, x: Tensor) -> Tensor:
        """[B, C] before the last projection."""
        x_BPC = self._with_positions(x)
        B, _, C = x_BPC.shape
        q_BH1C, k_BHPC, v_BHPC = (
            projected.view(B, -1, self.heads, C // self.heads).transpose(1, 2)
            for projected in (self.q_proj(x_BPC[:, :1]), self.k_proj(x_BPC), self.v_proj(x_BPC))
        )
        return F.scaled_dot_product_attention(q_BH1C, k_BHPC, v_BHPC).reshape(B, C)

    def dense(self, x: Tensor) -> Tensor:
        """[B, G, G, embed_dim]: what pooling would give if all attention fell on one place, for each place."""
        x_BPC = self._with_positions(x)[:, 1:]
        B, _, G, _ = x.shape
        dense_BGGE: Tensor = self.c_proj(self.v_proj(x_BPC)).view(B, G, G, -1)
        return dense_BGGE

    def _with_positions(self, x: Tensor) -> Tensor:
        """[B, 1 + P, C]: the mean, then the places row by row."""
        x_BPC = x.flatten(2).transpose(1, 2)
        return torch.cat([x_BPC.mean(dim=1, keepdim=True), x_BPC], dim=1) + self.positional_embedding


class ModifiedResNet(nn.Module):
    """Images [B, 3, image_px, image_px] -> embeddings [B, embed_dim], not normalised."""

    def __init__(self, config: ResNetConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.compiling = False
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, kernel_size=3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = _stage(width, width, config.layers[0], stride=1)
        self.layer2 = _stage(4 * width, 2 * width, config.layers[1], stride=2)
        self.layer3 = _stage(8 * width, 4 * width, config.layers[2], stride=2)
        self.layer4 = _stage(16 * width, 8 * width, config.layers[3], stride=2)
        self.attnpool = AttentionPool(config.grid, config.feature_width, config.heads, embed_dim)
        for block in self._blocks():
            nn.init.zeros_(block.bn3.weight)  # each block begins as its shortcut

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.attnpool(self._run(image))
        return out

    def pooled(self, image: Tensor) -> Tensor:
        """Features before the projection, [B, 32 · width]: what the paper's linear probes see (section 3.2)."""
        return self.attnpool.pooled(self._run(image))

    def feature_map(self, image: Tensor) -> Tensor:
        """What leaves the last block, [B, P, 32 · width], row by row of the image."""
        return self._run(image).flatten(2).transpose(1, 2)

    def dense(self, image: Tensor) -> Tensor:
        """Embeddings of the places, [B, G, G, embed_dim], not normalised: the value path of the attention pool, which
        can be compared with texts (MaskCLIP)."""
        return self.attnpool.dense(self._run(image))

    def resize_positions(self, image_px: int) -> None:
        """From now on takes images of another side; the pool's positions are interpolated. Raises ConfigError where
        it is no multiple of 32."""
        self.config = dataclasses.replace(self.config, image_px=image_px)
        resized = resize_positions(self.attnpool.positional_embedding.detach(), self.config.grid)
        self.attnpool.positional_embedding = nn.Parameter(resized)

    def set_checkpointing(self, enabled: bool) -> None:
        """Whether the backward pass computes each block again instead of keeping its inside."""
        self.checkpointing = enabled

    def set_compiling(self, enabled: bool) -> None:
        """Whether training's arithmetic is torch.compile's; evaluation, whose batches come in all sizes, stays out."""
        self.compiling = enabled

    def _run(self, image: Tensor) -> Tensor:
        """[B, 32 · width, G, G] behind the last block."""
        px = self.config.image_px
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, px, px):
            raise ValueError(f"image of shape {tuple(image.shape)}: this tower takes [batch, 3, {px}, {px}]")
        stem, run = _run_stem, _run_block
        if self.compiling and self.training:
            stem, run = compiled(_run_stem, dynamic=False), compiled(_run_block, dynamic=False)
        x: Tensor = stem(self, image.contiguous(memory_format=torch.channels_last))
        for block in self._blocks():
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(run, block, x, use_reentrant=False, context_fn=partial(_contexts, block))
            else:
                x = run(block, x)
        return x

    def _blocks(self) -> Iterator[Bottleneck]:
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                assert isinstance(block, Bottleneck)
                yield block


def _run_stem(tower: ModifiedResNet, x: Tensor) -> Tensor:
    for conv, norm in ((tower.conv1, tower.bn1), (tower.conv2, tower.bn2), (tower.conv3, tower.bn3)):
        x = F.relu(norm(conv(x)), inplace=True)
    out: Tensor = tower.avgpool(x)
    return out


def _run_block(block: Bottleneck, x: Tensor) -> Tensor:
    out: Tensor = block(x)
    return out


def _stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, channels, stride)
    return nn.Sequential(first, *(Bottleneck(4 * channels, channels) for _ in range(num_blocks - 1)))


def _contexts(
    block: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """For the forward pass and for its repetition, which must not count the batch a second time."""
    return contextlib.nullcontext(), _running_statistics_untouched(block)


@contextlib.contextmanager
def _running_statistics_untouched(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [dict(norm.named_buffers()) for norm in norms]
    for norm in norms:
        for name, buffer in norm.named_buffers():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
