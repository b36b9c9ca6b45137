from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.places import ROOT
from helpers.training import CONFIG
from models.clip import Clip
from models.config import CONFIGS, ClipConfig, ResNetConfig, TextConfig, VisionTransformerConfig
from models.detector.config import DetectorConfig, DetectorResNetConfig, DetectorVitConfig
from models.detector.detector import Detector
from models.text import TextTower
from models.vit import VisionTransformer
from train.config import DetectorTrainingConfig
from train.loss import contrastive_loss
from train.metrics.flops import (
    clip_flops,
    detector_flops,
    first_layer_flops,
    loss_flops,
    peak_flops,
    text_flops,
    training_flops,
    vit_flops,
)
from train.objectives.clip import number_kept

SMALL = {
    "uneven ViT": ClipConfig(
        embed_dim=24,
        vision=VisionTransformerConfig(image_px=42, patch_px=14, width=20, layers=3, heads=2),
        text=TextConfig(context_length=9, width=12, layers=2, heads=3),
    ),
    "uneven ResNet": ClipConfig(
        embed_dim=24,
        vision=ResNetConfig(image_px=96, layers=(2, 1, 3, 1), width=6, heads=4),
        text=TextConfig(context_length=9, width=12, heads=1, kind="cbow"),
    ),
}


def counted(run: Any) -> int:
    """What torch counts while it runs; attention written out, for its fused forms are not all known to the counter."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [*CONFIGS, *SMALL])
def test_both_towers_cost_what_torch_counts(name: str) -> None:
    config = (CONFIGS | SMALL)[name]
    with torch.device("meta"):
        model = Clip(config)
        image = torch.empty(2, 3, config.vision.image_px, config.vision.image_px)
        tokens = torch.empty(2, config.text.context_length, dtype=torch.int64)
    model.layout = "padded"
    expected = counted(lambda: (model.encode_image(image), model.encode_text(tokens)))
    assert 2 * clip_flops(config, config.text.context_length) == expected


def test_packed_captions_cost_their_own_tokens() -> None:
    config = TextConfig(vocabulary_size=20, context_length=12, width=12, layers=2, heads=3)
    tower = TextTower(config, 8)
    tokens = torch.tensor([[18, 3, 4, 5, 19, 0, 0, 0, 0, 0, 0, 0]] * 3)
    assert counted(lambda: tower.embed_text(tokens)) == 3 * text_flops(config, 8, 5)


@pytest.mark.parametrize(
    "config",
    [
        DetectorConfig(),
        DetectorConfig(encoder="vit"),
        DetectorConfig(image_px=75, embed_dim=16, resnet=DetectorResNetConfig(blocks=(1, 2, 2), width=4)),
        DetectorConfig(image_px=32, encoder="vit", vit=DetectorVitConfig(patch_px=8, width=12, layers=2, heads=3)),
    ],
    ids=["paper's", "ViT", "uneven", "small ViT"],
)
def test_the_detector_costs_what_torch_counts(config: DetectorConfig) -> None:
    with torch.device("meta"):
        model, image = Detector(config), torch.empty(2, 3, config.image_px, config.image_px)
    assert counted(lambda: model.embed(image)) == 2 * detector_flops(config)


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50", "uneven ViT"])
def test_a_pairs_training_costs_what_torch_counts_forward_and_backward(name: str) -> None:
    sizes = (CONFIGS | SMALL)[name]
    with torch.device("meta"):
        model = Clip(sizes)
        image = torch.empty(4, 3, sizes.vision.image_px, sizes.vision.image_px)
        tokens = torch.empty(4, sizes.text.context_length, dtype=torch.int64)
    model.layout = "padded"
    towers = counted(lambda: sum(side.sum() for side in model(image, tokens)).backward())
    stream = dataclasses.replace(CONFIG.stream, resize_px=sizes.vision.image_px)
    config = dataclasses.replace(CONFIG, model=sizes, stream=stream, text_layout="padded")
    assert 4 * (training_flops(config, 0.0) - loss_flops(config.batch_pairs, sizes.embed_dim)) == towers


def test_the_loss_costs_what_torch_counts_of_its_definition() -> None:
    one, other = (torch.randn(64, 16, requires_grad=True) for _ in range(2))
    scale = torch.tensor(10.0)
    plain = counted(lambda: contrastive_loss(one, other, scale, impl="reference").backward())
    assert 64 * loss_flops(64, 16) == plain


def test_dropped_patches_cost_nothing() -> None:
    config = VisionTransformerConfig(image_px=56, patch_px=8, width=16, layers=3, heads=2)
    tower = VisionTransformer(config, 8)
    for share in (0.25, 0.5, 0.9):
        kept = torch.arange(number_kept(config.num_patches, share)).expand(2, -1)
        image = torch.zeros(2, 3, 56, 56)
        assert counted(lambda image=image, kept=kept: tower(image, kept)) == 2 * vit_flops(config, 8, share)


def test_a_pair_is_an_image_and_its_text_or_its_copy_three_times_less_an_images_gradient_and_the_loss() -> None:
    packed = training_flops(CONFIG, 5.0)
    assert packed == 3 * clip_flops(CONFIG.model, 5.0) - first_layer_flops(CONFIG.model.vision) + 6 * 8 * 16
    padded = dataclasses.replace(CONFIG, text_layout="padded")
    assert training_flops(padded, 5.0) == training_flops(CONFIG, 16.0) > packed
    dropped = dataclasses.replace(CONFIG, patch_dropout=0.5)
    assert training_flops(dropped, 5.0) < packed
    detector = DetectorTrainingConfig()
    stem = 2 * 3 * 64 * 7**2 * 112**2
    assert training_flops(detector, 0.0) == 6 * detector_flops(detector.model) - 2 * stem + 6 * 1712 * 512


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12), ("NVIDIA H200", 989e12), ("NVIDIA GH200 480GB", 989e12), ("NVIDIA B200", 2250e12),
        ("NVIDIA H200 NVL", 835e12), ("NVIDIA H800 PCIe", 756e12), ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GB200", 2500e12), ("NVIDIA L40S", 362e12), ("NVIDIA A10", 125e12), ("NVIDIA A10G", 70e12),
        ("NVIDIA GeForce RTX 4090", 165e12), ("NVIDIA A1000", None), ("AMD EPYC 7B13", None),
    ],
)  # fmt: skip
def test_a_devices_peak_goes_by_its_name(device: str, peak: float | None) -> None:
    assert peak_flops(device, dataclasses.replace(CONFIG, precision="bf16")) == peak


def test_a_peak_that_is_written_counts_and_one_of_another_precision_does_not() -> None:
    assert peak_flops("NVIDIA H200", CONFIG) is None  # fp32
    assert peak_flops("Tesla V100-SXM2-16GB", dataclasses.replace(CONFIG, precision="bf16")) is None
    assert peak_flops("Tesla V100-SXM2-16GB", dataclasses.replace(CONFIG, precision="fp16")) == 125e12
    assert peak_flops("Tesla V100-PCIE-16GB", dataclasses.replace(CONFIG, precision="fp16")) == 112e12
    assert peak_flops("my own", dataclasses.replace(CONFIG, peak_tflops=1.5)) == 1.5e12


def test_counting_needs_no_torch() -> None:
    code = "import sys, train.metrics.flops; print('torch' in sys.modules, 'numpy' in sys.modules)"
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
