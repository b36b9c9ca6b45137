"""The arithmetic of a training by its config alone, and what devices can do at most: the two sides of the MFU, the
share of a device's peak that training makes use of (Chowdhery et al., PaLM, appendix B). Light to import (no torch).

Counted are products of matrices and convolutions, a multiplication and an addition as two; causal attention counts
whole. What is computed a second time, by gradient checkpointing, accumulation or the loss, does not count, nor does a
gradient of images, which nobody needs.
"""

from __future__ import annotations

import re

from models.config import ClipConfig, ResNetConfig, TextConfig, VisionConfig, VisionTransformerConfig
from models.detector.config import DetectorConfig, DetectorResNetConfig
from train.config import AnyTrainingConfig, PretrainConfig, TrainingConfig

BACKWARD_SHARE = 2  # a product's two gradients cost a product each
# FLOP/s without sparsity, 16-bit operands and 32-bit sums, from the makers' data sheets; the first that fits counts.
PEAKS: tuple[tuple[str, float], ...] = (
    (r"GB200", 2500e12),
    (r"B200", 2250e12),
    (r"H200 NVL", 835e12),
    (r"G?H200", 989e12),
    (r"H[18]00.*PCIe", 756e12),
    (r"H100 NVL", 835e12),
    (r"H[18]00", 989e12),
    (r"A[18]00", 312e12),
    (r"A40", 150e12),
    (r"A30", 165e12),
    (r"A10G", 70e12),
    (r"A10", 125e12),
    (r"L40S", 362e12),
    (r"L40", 181e12),
    (r"L4", 121e12),
    (r"RTX 4090$", 165e12),
    (r"RTX 3090$", 71e12),
    (r"V100.PCIE", 112e12),
    (r"V100", 125e12),
    (r"T4", 65e12),
)
ONLY_FP16 = ("V100.PCIE", "V100", "T4")  # their tensor cores know no bf16


def training_flops(config: AnyTrainingConfig, text_tokens: float) -> float:
    """FLOPs that a pair costs forward and backward, the loss included; `text_tokens` is the mean length of its
    captions, which does not matter to a padded or bag-of-words text tower."""
    if isinstance(config, PretrainConfig):
        tokens = text_tokens if config.text_layout == "packed" else config.model.text.context_length
        forward = clip_flops(config.model, tokens, config.patch_dropout)
        first = first_layer_flops(config.model.vision, config.patch_dropout)
    else:
        forward = 2 * detector_flops(config.model)  # the image and its copy
        first = 2 * _detector_first_layer_flops(config.model)
    towers = (1 + BACKWARD_SHARE) * forward - first  # whose input's gradient is not computed
    return towers + loss_flops(config.batch_pairs, config.model.embed_dim)


def peak_flops(device: str, config: TrainingConfig) -> float | None:
    """FLOP/s of one device, by its name, at the config's precision; None where nobody knows."""
    if config.peak_tflops:
        return config.peak_tflops * 1e12
    name = next((name for name, _ in PEAKS if re.search(rf"\b{name}\b", device)), None)
    if name is None or config.precision == "fp32" or (config.precision == "bf16" and name in ONLY_FP16):
        return None
    return dict(PEAKS)[name]


def loss_flops(batch_pairs: int, embed_dim: int) -> float:
    """FLOPs of the contrastive loss for one of N pairs: the similarities, and a product for each side's gradient,
    6 N² D for all."""
    return 6 * batch_pairs * embed_dim


def clip_flops(config: ClipConfig, text_tokens: float, patch_dropout: float = 0.0) -> float:
    """FLOPs of both towers forward, for one image and one caption of so many tokens."""
    image = (
        resnet_flops(config.vision, config.embed_dim)
        if isinstance(config.vision, ResNetConfig)
        else vit_flops(config.vision, config.embed_dim, patch_dropout)
    )
    return image + text_flops(config.text, config.embed_dim, text_tokens)


def vit_flops(config: VisionTransformerConfig, embed_dim: int, patch_dropout: float = 0.0) -> float:
    """FLOPs of a Vision Transformer forward, for one image; dropped patches cost nothing."""
    embedding = first_layer_flops(config, patch_dropout)
    tokens = _kept(config, patch_dropout) + 1
    return embedding + transformer_flops(config.width, config.layers, tokens) + 2 * config.width * embed_dim


def first_layer_flops(config: VisionConfig, patch_dropout: float = 0.0) -> float:
    """FLOPs of what an image tower does to pixels forward, for one image."""
    if isinstance(config, ResNetConfig):
        return _conv(3, config.width // 2, 3, config.image_px // 2)
    return 2 * _kept(config, patch_dropout) * 3 * config.patch_px**2 * config.width


def _kept(config: VisionTransformerConfig, patch_dropout: float) -> int:
    return max(1, round((1 - patch_dropout) * config.num_patches))  # as train.objectives.clip, which needs numpy


def text_flops(config: TextConfig, embed_dim: int, tokens: float) -> float:
    """FLOPs of a text tower forward, for one text of so many tokens; a bag of words is always padded."""
    projection = 2 * config.width * embed_dim
    if config.kind == "cbow":
        return 2 * config.context_length * config.width + projection
    return transformer_flops(config.width, config.layers, tokens) + projection


def transformer_flops(width: int, layers: int, tokens: float) -> float:
    """FLOPs of residual blocks forward, for one sequence: 12 width² weights a token, and attention twice."""
    return layers * (24 * tokens * width**2 + 4 * tokens**2 * width)


def resnet_flops(config: ResNetConfig, embed_dim: int) -> float:
    """FLOPs of a CLIP's ResNet forward, for one image."""
    width, side = config.width, config.image_px // 2
    flops = first_layer_flops(config) + _conv(width // 2, width // 2, 3, side) + _conv(width // 2, width, 3, side)
    side //= 2
    channels = width
    for stage, number in enumerate(config.layers):
        for place in range(number):
            inner, before = width * 2**stage, side
            side = side // 2 if stage and not place else side
            flops += (
                _conv(channels, inner, 1, before) + _conv(inner, inner, 3, before) + _conv(inner, 4 * inner, 1, side)
            )
            if not place:
                flops += _conv(channels, 4 * inner, 1, side)
            channels = 4 * inner
    tokens = side**2 + 1
    projections = 2 * (2 * tokens + 1) * channels**2 + 2 * channels * embed_dim
    return flops + projections + 4 * tokens * channels  # one query sees all places


def detector_flops(config: DetectorConfig) -> float:
    """FLOPs of the duplicate detector forward, for one image."""
    if config.encoder == "resnet":
        return _antialiased_flops(config.resnet, config.image_px, config.embed_dim)
    return vit_flops(_detector_vit(config), config.embed_dim)


def _detector_first_layer_flops(config: DetectorConfig) -> float:
    if config.encoder == "resnet":
        return _conv(3, config.resnet.width, 7, _half(config.image_px))
    return first_layer_flops(_detector_vit(config))


def _detector_vit(config: DetectorConfig) -> VisionTransformerConfig:
    vit = config.vit
    return VisionTransformerConfig(
        image_px=config.image_px, patch_px=vit.patch_px, width=vit.width, layers=vit.layers, heads=vit.heads
    )


def _antialiased_flops(config: DetectorResNetConfig, image_px: int, embed_dim: int) -> float:
    side = _half(image_px)
    flops = _conv(3, config.width, 7, side)
    side = _half(side)
    flops += _conv(1, config.width, 3, side)  # the blur sees one channel at a time
    channels = config.width
    for stage, number in enumerate(config.blocks):
        for place in range(number):
            inner, before = config.width * 2**stage, side
            flops += _conv(channels, inner, 1, before) + _conv(inner, inner, 3, before)
            if stage and not place:
                side = _half(side)
                flops += _conv(1, inner, 3, side)
            flops += _conv(inner, 4 * inner, 1, side)
            if not place:
                flops += _conv(channels, 4 * inner, 1, side)
            channels = 4 * inner
    return flops + 2 * channels * embed_dim


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """FLOPs of a convolution onto a map of so many places a side."""
    return 2 * inputs * outputs * kernel**2 * side**2


def _half(side: int) -> int:
    return -(-side // 2)
