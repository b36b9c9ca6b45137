"""The network against open_clip's, with the same weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig

NARROW = ClipConfig(
    embed_dim=48,
    vision=VisionTransformerConfig(image_px=64, patch_px=16, width=96, layers=3, heads=3),
    text=TextConfig(context_length=77, vocabulary_size=49408, width=64, layers=2, heads=2),
)


def open_clip_model(config: ClipConfig) -> Any:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision, text = config.vision, config.text
    return CLIP(
        config.embed_dim,
        CLIPVisionCfg(
            layers=vision.layers,
            width=vision.width,
            head_width=vision.width // vision.heads,
            patch_size=vision.patch_px,
            image_size=vision.image_px,
        ),
        CLIPTextCfg(
            context_length=text.context_length,
            vocab_size=text.vocabulary_size,
            width=text.width,
            heads=text.heads,
            layers=text.layers,
        ),
        quick_gelu=True,
    )


def random_tokens(num_texts: int, seed: int = 0) -> torch.Tensor:
    """Texts of 1 to 20 words, ids as the tokenizer lays them out."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.zeros(num_texts, 77, dtype=torch.int64)
    for row in tokens:
        length = int(torch.randint(1, 21, (), generator=random))
        row[0], row[length + 1] = 49406, 49407
        row[1 : length + 1] = torch.randint(1, 49406, (length,), generator=random)
    return tokens


@pytest.fixture(scope="module")
def narrow() -> Clip:
    torch.manual_seed(0)
    return Clip(NARROW)


def test_full_size_names_and_shapes_are_those_of_vit_b_32() -> None:
    pytest.importorskip("open_clip")
    with torch.device("meta"):
        ours, theirs = Clip(ClipConfig()), open_clip_model(ClipConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    assert len(shapes) == 302
    assert sum(math.prod(shape) for shape in shapes.values()) == 151_277_313


def test_the_same_weights_give_the_features_and_gradients_of_open_clip(narrow: Clip) -> None:
    pytest.importorskip("open_clip")
    theirs = open_clip_model(NARROW)
    theirs.load_state_dict(narrow.state_dict())
    image, tokens = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1)), random_tokens(5)
    ours_out, theirs_out = narrow(image, tokens), theirs(image, tokens)
    for mine, other in zip(ours_out, theirs_out, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)
    narrow.zero_grad()
    for image_BD, text_BD, scale in (ours_out, theirs_out):
        (scale * image_BD @ text_BD.T).logsumexp(1).sum().backward()
    theirs_gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in narrow.named_parameters():
        expected = theirs_gradients[name]
        assert (parameter.grad - expected).norm() <= 1e-4 * expected.norm() + 1e-6, name


def test_features_are_unit_vectors_and_the_scale_starts_at_one_over_007(narrow: Clip) -> None:
    image_BD, text_BD, scale = narrow(torch.randn(3, 3, 64, 64), random_tokens(3))
    torch.testing.assert_close(image_BD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(text_BD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))


def test_cutting_the_padding_changes_nothing(narrow: Clip) -> None:
    tokens = random_tokens(6)
    alone = torch.cat([narrow.encode_text(row[None]) for row in tokens])
    longest = torch.cat([torch.tensor([[49406] + [7] * 75 + [49407]]), tokens])
    torch.testing.assert_close(narrow.encode_text(tokens), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(narrow.encode_text(longest)[1:], alone, atol=1e-5, rtol=0)


def test_nothing_after_the_end_token_reaches_the_text_features(narrow: Clip) -> None:
    tokens = random_tokens(4)
    spoiled = torch.where((tokens == 0) & (torch.arange(77) > 30), 123, tokens)
    assert (spoiled != tokens).any()
    torch.testing.assert_close(narrow.encode_text(spoiled), narrow.encode_text(tokens), atol=1e-6, rtol=0)


def test_probe_features_come_before_the_projection(narrow: Clip) -> None:
    image = torch.randn(2, 3, 64, 64)
    features = narrow.image_features(image)
    assert features.shape == (2, NARROW.vision.width)
    projected = torch.nn.functional.normalize(features @ narrow.visual.proj, dim=-1)
    torch.testing.assert_close(projected, narrow.encode_image(image))


def test_weights_start_with_the_released_deviations() -> None:
    torch.manual_seed(0)
    weights = Clip(ClipConfig(vision=VisionTransformerConfig(layers=1), text=TextConfig(layers=3))).state_dict()
    expected = {
        "token_embedding.weight": 0.02,
        "positional_embedding": 0.01,
        "transformer.resblocks.0.attn.in_proj_weight": 512**-0.5,
        "transformer.resblocks.1.attn.out_proj.weight": 512**-0.5 * 6**-0.5,
        "transformer.resblocks.2.mlp.c_proj.weight": 512**-0.5 * 6**-0.5,
        "transformer.resblocks.2.mlp.c_fc.weight": 1024**-0.5,
        "text_projection": 512**-0.5,
        "visual.class_embedding": 768**-0.5,
        "visual.positional_embedding": 768**-0.5,
        "visual.proj": 768**-0.5,
    }
    for name, std in expected.items():
        assert weights[name].std().item() == pytest.approx(std, rel=0.1 if weights[name].ndim == 1 else 0.02), name


def test_the_same_seed_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(Clip(NARROW).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_inputs_of_the_wrong_shape_are_refused_with_both_shapes(narrow: Clip) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 32, 32\).*\[batch, 3, 64, 64\]"):
        narrow.encode_image(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"\(1, 78\).*<= 77"):
        narrow.encode_text(torch.zeros(1, 78, dtype=torch.int64))


def test_half_precision_autocast_stays_near_full_precision(narrow: Clip) -> None:
    image, tokens = torch.randn(3, 3, 64, 64), random_tokens(3)
    with torch.autocast("cpu", torch.bfloat16):
        half = narrow(image, tokens)
    for low, full in zip(half, narrow(image, tokens), strict=True):
        torch.testing.assert_close(low.float(), full, atol=0.03, rtol=0.01)
