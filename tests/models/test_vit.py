from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.config import VisionTransformerConfig
from models.vit import VisionTransformer, resize_positions
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


def test_the_map_goes_row_by_row_of_the_image(tower: VisionTransformer) -> None:
    for block in tower.transformer.resblocks:  # without attention a patch's token tells of its patch alone
        torch.nn.init.zeros_(block.attn.out_proj.weight)  # type: ignore[arg-type, union-attr]
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
    last.forward = lambda x_NW, blocks, causal, _: type(last).forward(last, x_NW, [(len(x_NW), 1)], causal)
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


def test_all_patches_kept_in_any_order_give_what_the_whole_image_gives(tower: VisionTransformer) -> None:
    image = torch.randn(3, 3, 24, 24)
    kept = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    torch.testing.assert_close(tower(image, kept), tower(image), atol=1e-6, rtol=1e-5)


def test_kept_patches_alone_are_seen_each_at_its_own_position(tower: VisionTransformer) -> None:
    image = torch.randn(2, 3, 24, 24)
    kept = torch.tensor([[0, 4, 5], [2, 3, 7]])
    spoiled = image.clone()
    for i, row in enumerate(kept.tolist()):
        for place in set(range(9)) - set(row):
            spoiled[i, :, place // 3 * 8 : place // 3 * 8 + 8, place % 3 * 8 : place % 3 * 8 + 8] = 100.0
    assert torch.equal(tower(spoiled, kept), tower(image, kept))
    expected = tower._embed_patches(image)
    rows = torch.cat([torch.zeros(2, 1, dtype=torch.int64), kept + 1], dim=1)
    expected = expected.gather(1, rows[:, :, None].expand(-1, -1, 32))
    torch.testing.assert_close(tower._embed_patches(image, kept), expected, atol=1e-6, rtol=1e-5)


def test_gradients_reach_kept_patches_and_the_class_token_alone(tower: VisionTransformer) -> None:
    image = torch.randn(2, 3, 24, 24, requires_grad=True)
    tower(image, torch.tensor([[0, 4, 5], [0, 3, 5]])).square().sum().backward()
    moved = tower.positional_embedding.grad.abs().sum(1) > 0  # type: ignore[union-attr]
    assert moved.nonzero().flatten().tolist() == [0, 1, 4, 5, 6]  # the class token's, then place + 1
    seen = image.grad[0].abs().sum(0) > 0  # type: ignore[index]
    assert seen.view(3, 8, 3, 8).sum((1, 3)).tolist() == [[64, 0, 0], [0, 64, 64], [0, 0, 0]]
    assert tower.class_embedding.grad.norm() > 0  # type: ignore[union-attr]


def test_a_patch_left_out_costs_nothing(tower: VisionTransformer) -> None:
    image = torch.randn(2, 3, 24, 24)
    flops = []
    for num_kept in (9, 3):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            tower(image, torch.arange(num_kept).expand(2, -1))
        flops.append(counter.get_total_flops())
    head = 2 * 2 * 32 * 16
    rows = 24 * 32 * 32 * 3  # of a row in three blocks
    embedding, attention = 2 * 3 * 64 * 32, 4 * 32 * 3
    assert [f - head for f in flops] == [
        2 * (num * embedding + (num + 1) * rows + (num + 1) ** 2 * attention) for num in (9, 3)
    ]


@pytest.mark.parametrize(("old", "new"), [(16, 24), (24, 16), (7, 14), (3, 5)])
def test_positions_are_interpolated_as_open_clip_does(old: int, new: int) -> None:
    open_clip = pytest.importorskip("open_clip.model")
    positions_PW = torch.randn(1 + old**2, 6, generator=torch.Generator().manual_seed(0))
    weights = {"visual.positional_embedding": positions_PW}
    open_clip.resize_pos_embed(weights, SimpleNamespace(visual=SimpleNamespace(grid_size=(new, new))))
    resized = resize_positions(positions_PW, new)
    torch.testing.assert_close(resized, weights["visual.positional_embedding"], atol=1e-6, rtol=0)
    assert torch.equal(resized[0], positions_PW[0])


def test_the_same_grid_gives_the_same_tensor() -> None:
    positions_PW = torch.randn(10, 4)
    assert resize_positions(positions_PW, 3) is positions_PW


def test_positions_of_half_precision_stay_so() -> None:
    assert resize_positions(torch.randn(10, 4, dtype=torch.float16), 4).dtype == torch.float16


def test_places_that_make_no_square_are_refused_with_their_shape() -> None:
    with pytest.raises(ValueError, match=r"\(9, 4\): expected 1 \+ a square number"):
        resize_positions(torch.randn(9, 4), 2)
