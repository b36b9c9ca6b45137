# mypy: disable-error-code="assignment, index, operator, union-attr"
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from helpers.networks import shaken
from models.config import ResNetConfig
from models.resnet import AttentionPool, ModifiedResNet
from openwit.errors import ConfigError

CONFIG = ResNetConfig(image_px=64, layers=(2, 1, 1, 2), width=8, heads=4)


@pytest.fixture
def tower() -> ModifiedResNet:
    torch.manual_seed(0)
    return ModifiedResNet(CONFIG, 16)


def test_features_maps_and_dense_embeddings_have_their_shapes(tower: ModifiedResNet) -> None:
    image = torch.randn(2, 3, 64, 64)
    assert tower(image).shape == (2, 16)
    assert tower.pooled(image).shape == (2, CONFIG.feature_width) == (2, 256)
    assert tower.feature_map(image).shape == (2, CONFIG.num_patches, 256) == (2, 4, 256)
    assert tower.dense(image).shape == (2, 2, 2, 16)


def test_probe_features_come_before_the_last_projection(tower: ModifiedResNet) -> None:
    tower.eval()
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(tower.attnpool.c_proj(tower.pooled(image)), tower(image))


def test_a_dense_embedding_is_the_pool_with_all_attention_on_one_place() -> None:
    torch.manual_seed(0)
    pool, x = AttentionPool(3, 32, 4, 16), torch.randn(2, 32, 3, 3)
    nn.init.zeros_(pool.k_proj.weight)  # keys tell nothing: the pool gives the mean of the values
    dense_BPE = pool.dense(x).flatten(1, 2)
    of_mean_BE = pool.c_proj(pool.v_proj(x.flatten(2).mean(2) + pool.positional_embedding[0]))
    torch.testing.assert_close(pool(x), (dense_BPE.sum(1) + of_mean_BE) / 10, atol=1e-5, rtol=1e-4)


def test_the_map_goes_row_by_row_of_the_image(tower: ModifiedResNet) -> None:
    tower.eval()
    x = torch.randn(1, 256, 2, 2)
    tower._run = lambda image: x
    image = torch.zeros(1, 3, 64, 64)
    torch.testing.assert_close(tower.feature_map(image)[0, 2], x[0, :, 1, 0])
    expected = tower.attnpool.v_proj(x[0, :, 1, 0] + tower.attnpool.positional_embedding[3])
    torch.testing.assert_close(tower.dense(image)[0, 1, 0], tower.attnpool.c_proj(expected))


def test_strides_are_averaged_so_a_shift_of_one_pixel_changes_little_of_the_path_beside_a_block(
    tower: ModifiedResNet,
) -> None:
    x = torch.randn(1, 32, 8, 8)
    beside = tower.layer2[0].downsample
    pooled = nn.functional.avg_pool2d(x, 2)
    expected = beside[2](nn.functional.conv2d(pooled, beside[1].weight))
    torch.testing.assert_close(beside(x), expected)
    assert [module.stride for module in tower.modules() if isinstance(module, nn.Conv2d)].count((2, 2)) == 1  # the stem


def test_checkpointed_blocks_give_equal_gradients_and_count_a_batch_once(tower: ModifiedResNet) -> None:
    kept = shaken(tower)
    again = copy.deepcopy(kept)
    again.set_checkpointing(True)
    image = torch.randn(3, 3, 64, 64)
    for network in (kept, again):
        network(image).square().sum().backward()
    for (name, one), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5, msg=name)
    for (name, one), other in zip(kept.named_buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    assert again.layer1[0].bn1.num_batches_tracked == 1


def test_without_gradients_a_checkpointed_tower_evaluates_as_it_would(tower: ModifiedResNet) -> None:
    tower.eval()
    image = torch.randn(1, 3, 64, 64)
    expected = tower(image)
    tower.set_checkpointing(True)
    with torch.no_grad():
        assert torch.equal(tower(image), expected)


def test_weights_start_with_the_released_deviations(tower: ModifiedResNet) -> None:
    pool = tower.attnpool
    for tensor in (pool.positional_embedding, *(getattr(pool, f"{x}_proj").weight for x in "qkvc")):
        assert tensor.std().item() == pytest.approx(256**-0.5, rel=0.05)
    blocks = [block for stage in (tower.layer1, tower.layer2, tower.layer3, tower.layer4) for block in stage]
    assert len(blocks) == 6
    assert all(not block.bn3.weight.any() and block.bn1.weight.all() for block in blocks)


def test_activations_are_stored_with_the_channels_last_and_weights_plainly(tower: ModifiedResNet) -> None:
    seen: list[torch.Tensor] = []
    for block in (tower.layer1[0], tower.layer3[0]):
        block.conv2.register_forward_hook(lambda _, inputs, out: seen.extend([*inputs, out]))
    tower(torch.randn(2, 3, 64, 64))
    assert len(seen) == 4
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)
    assert all(parameter.is_contiguous() for parameter in tower.parameters())


def test_another_resolution_is_taken_after_resizing_and_not_before(tower: ModifiedResNet) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 96, 96\).*\[batch, 3, 64, 64\]"):
        tower(torch.randn(1, 3, 96, 96))
    tower.resize_positions(96)
    assert tower.dense(torch.randn(1, 3, 96, 96)).shape == (1, 3, 3, 16)
    assert tower.attnpool.positional_embedding.shape == (10, 256)
    with pytest.raises(ConfigError, match=r"vision\.image_px=100: .* write 96"):
        tower.resize_positions(100)


def test_batch_norm_moves_its_running_statistics_by_a_tenth_a_step(tower: ModifiedResNet) -> None:
    """PyTorch's momentum, with which the released weights were trained."""
    image = torch.randn(4, 3, 64, 64)
    before = tower.bn1.running_mean.clone()
    tower.train()
    with torch.no_grad():
        mean_C = tower.conv1(image).mean((0, 2, 3))
        tower(image)
    torch.testing.assert_close(tower.bn1.running_mean, 0.9 * before + 0.1 * mean_C, atol=1e-6, rtol=1e-4)
