from __future__ import annotations

import pytest
import torch

from models.config import VisionTransformerConfig
from models.vit import VisionTransformer
from openwit.errors import ConfigError

CONFIG = VisionTransformerConfig(image_px=24, patch_px=8, width=32, layers=3, heads=4)


@pytest.fixture
def tower() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(CONFIG, 16)


def test_features_maps_and_dense_embeddings_have_their_shapes(tower: VisionTransformer) -> None:
    image = torch.randn(2, 3, 24, 24)
    assert tower(image).shape == (2, 16)
    assert tower.pooled(image).shape == (2, CONFIG.feature_width) == (2, 32)
    assert tower.feature_map(image).shape == (2, CONFIG.num_patches, 32) == (2, 9, 32)
    assert tower.dense(image).shape == (2, 3, 3, 16)


def test_the_map_goes_row_by_row_of_the_picture(tower: VisionTransformer) -> None:
    for block in tower.transformer.resblocks:  # without attention a patch's token tells of its patch alone
        torch.nn.init.zeros_(block.attn.out_proj.weight)
    image = torch.randn(1, 3, 24, 24)
    changed = image.clone()
    changed[:, :, 8:16, 16:24] += 1  # row 1, column 2
    moved = (tower.feature_map(changed) - tower.feature_map(image)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [5]
    moved = (tower.dense(changed) - tower.dense(image)).abs().amax(dim=(0, 3)) > 1e-6
    assert moved.nonzero().tolist() == [[1, 2]]


def test_a_dense_embedding_is_the_towers_where_the_last_block_attends_to_one_place(tower: VisionTransformer) -> None:
    image = torch.randn(2, 3, 24, 24)
    last = tower.transformer.resblocks[-1]
    last.forward = lambda x_NW, blocks, causal: type(last).forward(last, x_NW, [(len(x_NW), 1)], causal)
    expected = tower.ln_post(tower.feature_map(image)) @ tower.proj
    torch.testing.assert_close(tower.dense(image).flatten(1, 2), expected, atol=1e-5, rtol=0)


def test_another_resolution_is_taken_after_resizing_and_not_before(tower: VisionTransformer) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 40, 40\).*\[batch, 3, 24, 24\]"):
        tower(torch.randn(1, 3, 40, 40))
    tower.resize_positions(40)
    assert tower.dense(torch.randn(1, 3, 40, 40)).shape == (1, 5, 5, 16)
    assert tower.positional_embedding.shape == (26, 32)
    assert tower.positional_embedding.requires_grad
    assert tower.config.image_px == 40
    with pytest.raises(ConfigError, match=r"vision\.image_px=41: .* write 40"):
        tower.resize_positions(41)
