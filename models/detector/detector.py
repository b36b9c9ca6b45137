"""The duplicate detector of appendix C: ResNet-50 with anti-aliasing, weight norm instead of batch norm, and GELU.

Shapes: B batch · C channels · H, W sides of a feature map · S side of the input in pixels · D width of the descriptor.

Anti-aliasing is Zhang's (2019): what halves a side first computes at the full side, then blurs and takes every other
place. Without batch norm, depth trains because the gains of weight norm begin where each convolution keeps the second
moment of what it reads, and where the L residual branches each add 1/L of what they read, so e times in all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from models.compiling import compiled
from models.config import VisionTransformerConfig
from models.detector.config import DetectorConfig, DetectorResNetConfig
from models.vit import VisionTransformer

EXPANSION = 4  # from a bottleneck's inner channels to its outer ones
GELU_GAIN = 1.5335  # 1 / the root mean square of GELU(x) for x ~ N(0, 1): keeps the variance of what follows


class BlurPool(nn.Module):
    """Halves the side behind a fixed filter of 1-2-1 a direction, [B, C, H, W] -> [B, C, ceil(H/2), ceil(W/2)]."""

    kernel_C1KK: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = (row[:, None] * row[None, :]).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel_C1KK", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
        return F.conv2d(padded, self.kernel_C1KK.to(x.dtype), stride=2, groups=x.shape[1])


def _conv(inputs: int, outputs: int, side: int, gain: float, stride: int = 1) -> nn.Module:
    """A convolution with weight norm, whose output channels all begin with the norm `gain`."""
    conv = nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2)
    nn.init.normal_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    weight_norm(conv, dim=0)
    nn.init.constant_(conv.parametrizations.weight.original0, gain)  # type: ignore[union-attr, arg-type]
    return conv


class DetectorBottleneck(nn.Module):
    """shortcut(x) + branch(x), the branch 1x1, 3x3, 1x1, `gain` what it begins with; with `halve`, both paths halve the
    side, blurred or averaged."""

    def __init__(self, inputs: int, inner: int, halve: bool, gain: float) -> None:
        super().__init__()
        outputs = EXPANSION * inner
        self.conv1 = _conv(inputs, inner, 1, GELU_GAIN)
        self.conv2 = _conv(inner, inner, 3, GELU_GAIN)
        self.conv3 = _conv(inner, outputs, 1, GELU_GAIN * gain)
        self.halve = BlurPool(inner) if halve else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if halve or inputs != outputs:
            pool = nn.AvgPool2d(2, ceil_mode=True) if halve else nn.Identity()
            self.shortcut = nn.Sequential(pool, _conv(inputs, outputs, 1, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv1(F.gelu(x))
        branch = self.halve(F.gelu(self.conv2(F.gelu(branch))))
        out: Tensor = self.shortcut(x) + self.conv3(branch)
        return out


class AntialiasedResNet(nn.Module):
    """Images [B, 3, S, S] -> [B, D], not normalised: stem, stages, mean over the places, a linear layer."""

    def __init__(self, config: DetectorResNetConfig, embed_dim: int) -> None:
        super().__init__()
        self.compiling = False
        width = config.width
        self.stem = _conv(3, width, 7, 1.0, stride=2)
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), BlurPool(width))
        blocks: list[nn.Module] = []
        channels = width
        for stage, number in enumerate(config.blocks):
            inner = width * 2**stage
            for place in range(number):
                blocks.append(
                    DetectorBottleneck(channels, inner, halve=stage > 0 and place == 0, gain=sum(config.blocks) ** -0.5)
                )
                channels = EXPANSION * inner
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.gelu(self.stem(x)))
        run = compiled(_run, dynamic=False) if self.compiling and self.training else _run
        for block in self.blocks:
            x = run(block, x)
        out: Tensor = self.head(F.gelu(x).mean(dim=(2, 3)))
        return out

    def set_compiling(self, enabled: bool) -> None:
        """Whether training's arithmetic is torch.compile's; what comes in all sizes stays out."""
        self.compiling = enabled


def _run(block: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = block(x)
    return out


class Detector(nn.Module):
    """Images to descriptors, compared by cosine; weights are drawn from torch's global generator."""

    scale: Tensor

    def __init__(self, config: DetectorConfig, temperature: float = 0.07) -> None:
        super().__init__()
        self.config = config
        self.encoder: AntialiasedResNet | VisionTransformer
        if config.encoder == "resnet":
            self.encoder = AntialiasedResNet(config.resnet, config.embed_dim)
        else:
            vit = config.vit
            sizes = VisionTransformerConfig(
                image_px=config.image_px, patch_px=vit.patch_px, width=vit.width, layers=vit.layers, heads=vit.heads
            )
            self.encoder = VisionTransformer(sizes, config.embed_dim)
        self.register_buffer("scale", torch.tensor(1 / temperature), persistent=False)

    def embed(self, image: Tensor) -> Tensor:
        """Unit vectors [B, D] of normalised images [B, 3, S, S]."""
        image = image.contiguous(memory_format=torch.channels_last)  # half the time on CPUs
        return F.normalize(self.encoder(image).float(), dim=-1)

    def forward(self, image: Tensor, copy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors [B, D] of images and of their copies, and the fixed scale (paper, appendix C: temperature
        0.07), for the contrastive loss: of one positive and B - 1 negatives an image it is the n-pair loss."""
        image_BD, copy_BD = self.embed(torch.cat([image, copy])).chunk(2)
        return image_BD, copy_BD, self.scale


def fold_weight_norm(network: nn.Module) -> None:
    """Writes each weight-normed weight out as a plain one, which computes the same and faster; it trains no more."""
    for module in network.modules():
        if is_parametrized(module, "weight"):
            remove_parametrizations(module, "weight")
