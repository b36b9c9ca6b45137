# mypy: disable-error-code="operator, union-attr"
from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.detector.config import DetectorConfig, DetectorResNetConfig, DetectorVitConfig
from models.detector.detector import (
    GELU_GAIN,
    AntialiasedResNet,
    BlurPool,
    Detector,
    DetectorBottleneck,
    fold_weight_norm,
)

TINY = DetectorConfig(image_px=32, embed_dim=8, resnet=DetectorResNetConfig(blocks=(1, 2, 1, 1), width=4))
TINY_VIT = DetectorConfig(
    encoder="vit", image_px=32, embed_dim=8, vit=DetectorVitConfig(patch_px=8, width=12, layers=2, heads=3)
)


def tiny(config: DetectorConfig = TINY) -> Detector:
    torch.manual_seed(0)
    return Detector(config)


def test_the_default_network_is_a_resnet_50_without_batch_norm() -> None:
    with torch.device("meta"):
        network = AntialiasedResNet(DetectorResNetConfig(), 512)
    kinds = [type(module) for module in network.modules()]
    assert sum(isinstance(module, DetectorBottleneck) for module in network.modules()) == 16
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 1 + 16 * 3 + 4
    assert not any(issubclass(kind, (nn.BatchNorm2d, nn.ReLU)) for kind in kinds)
    num_weights = sum(w.numel() for w in network.parameters())
    assert num_weights == pytest.approx(23.5e6 + 2048 * 512, rel=0.01)  # ResNet-50 without its classifier, and a head


@pytest.mark.parametrize("config", [TINY, TINY_VIT], ids=["resnet", "vit"])
def test_descriptors_are_unit_vectors_and_the_scale_is_one_over_the_temperature(config: Any) -> None:
    model = tiny(config)
    one, other, scale = model(torch.randn(3, 3, 32, 32), torch.randn(3, 3, 32, 32))
    assert one.shape == other.shape == (3, 8)
    torch.testing.assert_close(torch.cat([one, other]).norm(dim=1), torch.ones(6))
    assert scale.item() == pytest.approx(1 / 0.07)
    assert "scale" not in dict(model.named_parameters())
    assert "scale" not in model.state_dict()


def test_a_pair_is_embedded_as_each_alone() -> None:
    model = tiny()
    image, other = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    one, two, _ = model(image, other)
    torch.testing.assert_close(one, model.embed(image), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(two, model.embed(other), atol=1e-6, rtol=1e-5)


def test_weight_norm_parts_each_output_channel_in_a_length_and_a_direction() -> None:
    stem = tiny().encoder.stem
    length, direction = stem.parametrizations.weight.original0, stem.parametrizations.weight.original1
    assert length.shape == (4, 1, 1, 1)
    torch.testing.assert_close(stem.weight, length * direction / direction.flatten(1).norm(dim=1).view(4, 1, 1, 1))
    torch.testing.assert_close(stem.weight.flatten(1).norm(dim=1), torch.ones(4))


def test_folding_weight_norm_changes_no_descriptor() -> None:
    model = tiny()
    folded = tiny()
    fold_weight_norm(folded)
    assert not [name for name in folded.state_dict() if "parametrizations" in name]
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(folded.embed(image), model.embed(image))


def test_the_gain_of_gelu_keeps_the_second_moment() -> None:
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    assert (GELU_GAIN * F.gelu(x)).pow(2).mean().sqrt().item() == pytest.approx(1, rel=5e-3)


def test_a_deep_new_network_neither_vanishes_nor_explodes_and_gives_every_block_a_gradient() -> None:
    torch.manual_seed(0)
    encoder = AntialiasedResNet(DetectorResNetConfig(blocks=(8, 8, 8, 8), width=8), 16)
    features = encoder.blocks(encoder.pool(F.gelu(encoder.stem(torch.randn(4, 3, 64, 64)))))
    assert 0.05 < features.std().item() < 5
    encoder.head(features.mean(dim=(2, 3))).square().sum().backward()
    for block in encoder.blocks:
        assert block.conv3.parametrizations.weight.original0.grad.abs().max() > 0


def test_blurring_halves_a_side_and_keeps_the_mean() -> None:
    pool = BlurPool(2)
    assert pool(torch.ones(1, 2, 9, 8)).shape == (1, 2, 5, 4)
    torch.testing.assert_close(pool(torch.full((1, 2, 8, 8), 3.0)), torch.full((1, 2, 4, 4), 3.0))
    checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None].expand(1, 2, 8, 8)
    assert pool(checkers).abs().max() < 1e-6  # what a stride alone would show as a flat image
    assert checkers[..., ::2, ::2].abs().min() == 1


def test_descriptors_of_shifted_images_stay_nearer_than_without_antialiasing() -> None:
    smooth = F.interpolate(torch.randn(24, 3, 12, 12, generator=torch.Generator().manual_seed(1)), 72)
    one, shifted = smooth[..., 2:66, 2:66], smooth[..., 3:67, 3:67]
    model = tiny(DetectorConfig(image_px=64, embed_dim=16, resnet=DetectorResNetConfig(blocks=(1, 1, 1), width=8)))
    for block in model.encoder.blocks:  # a new block is its shortcut alone
        nn.init.ones_(block.conv3.parametrizations.weight.original0)
    strided = copy.deepcopy(model)
    for module in strided.modules():
        for name, child in module.named_children():
            if isinstance(child, BlurPool):
                setattr(module, name, nn.MaxPool2d(1, stride=2))
    similar = [(m.embed(one) * m.embed(shifted)).sum(1).mean().item() for m in (model, strided)]
    assert similar[0] > similar[1]
