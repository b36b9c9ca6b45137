from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image

from models.clip import Clip
from models.config import ClipConfig, PreprocessConfig, ResNetConfig, TextConfig, VisionTransformerConfig
from models.preprocess import preprocess

NARROW = ClipConfig(
    embed_dim=48,
    vision=VisionTransformerConfig(image_px=64, patch_px=16, width=96, layers=3, heads=3),
    text=TextConfig(context_length=77, vocabulary_size=49408, width=64, layers=2, heads=2),
)

KINDS = [
    NARROW,
    dataclasses.replace(NARROW, vision=ResNetConfig(image_px=64, layers=(1, 1, 1, 1), width=8, heads=4)),
    dataclasses.replace(NARROW, text=TextConfig(kind="cbow", width=64)),
]


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


def test_features_are_unit_vectors_and_the_scale_starts_at_one_over_007(narrow: Clip) -> None:
    image_BD, text_BD, scale = narrow(torch.randn(3, 3, 64, 64), random_tokens(3))
    torch.testing.assert_close(image_BD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(text_BD.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))


def test_nothing_after_the_end_token_reaches_the_text_features(narrow: Clip) -> None:
    tokens = random_tokens(4)
    spoiled = torch.where((tokens == 0) & (torch.arange(77) > 30), 123, tokens)
    assert (spoiled != tokens).any()
    features = narrow.encode_text(tokens)
    torch.testing.assert_close(narrow.encode_text(spoiled), features, atol=1e-6, rtol=0)
    other = torch.where(torch.arange(77) == 1, tokens % 100 + 200, tokens)  # another word before the end
    assert (narrow.encode_text(other) - features).abs().amax(1).min() > 1e-3


def test_probe_features_come_before_the_projection(narrow: Clip) -> None:
    image = torch.randn(2, 3, 64, 64)
    features = narrow.image_features(image)
    assert features.shape == (2, NARROW.vision.width)
    projected = torch.nn.functional.normalize(features @ narrow.visual.proj, dim=-1)  # type: ignore[operator]
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


@pytest.mark.parametrize("config", KINDS, ids=["vit", "resnet", "cbow"])
def test_checkpointing_changes_no_gradient(config: ClipConfig) -> None:
    torch.manual_seed(0)
    model, image, tokens = Clip(config), torch.randn(3, 3, 64, 64), random_tokens(3)
    grads = []
    for enabled in (False, True):
        model.set_checkpointing(enabled)
        image_BD, text_BD, scale = model(image, tokens)
        loss = (scale * image_BD @ text_BD.T).logsumexp(1).sum()
        grads.append(torch.autograd.grad(loss, list(model.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("config", KINDS, ids=["vit", "resnet", "cbow"])
def test_features_for_probes_have_the_width_of_the_config(config: ClipConfig) -> None:
    model = Clip(config)
    assert model.image_features(torch.randn(2, 3, 64, 64)).shape == (2, config.vision.feature_width)
    assert model.encode_text(random_tokens(2)).shape == (2, config.embed_dim)


def test_the_scale_is_held_at_the_papers_hundred(narrow: Clip) -> None:
    model = Clip(NARROW)
    model.logit_scale.data.fill_(7.0)
    model.clamp_logit_scale()
    torch.testing.assert_close(model.logit_scale.exp(), torch.tensor(100.0), check_dtype=False)
    before = narrow.logit_scale.clone()
    narrow.clamp_logit_scale()
    assert torch.equal(narrow.logit_scale, before)


def test_its_preprocessing_is_that_of_its_config() -> None:
    as_written = PreprocessConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize_mode="squash")
    model = Clip(dataclasses.replace(NARROW, preprocess=as_written))
    image = Image.effect_mandelbrot((90, 70), (-2, -1, 1, 1), 20)
    assert torch.equal(model.preprocess(image), preprocess(image, 64, as_written))
    assert not torch.equal(model.preprocess(image), preprocess(image, 64))


@pytest.mark.parametrize("config", KINDS[:2], ids=["vit", "resnet"])
def test_another_resolution_is_in_the_config_and_the_preprocessing(config: ClipConfig) -> None:
    model = Clip(config)
    model.resize_image(96)
    assert model.config.vision == model.visual.config == dataclasses.replace(config.vision, image_px=96)
    image = model.preprocess(Image.new("RGB", (120, 110)))
    assert model.encode_image(image[None]).shape == (1, 48)
    Clip(model.config).load_state_dict(model.state_dict())


def test_patches_that_are_kept_change_the_image_side_alone(narrow: Clip) -> None:
    image, tokens = torch.randn(2, 3, 64, 64), random_tokens(2)
    whole, fewer = narrow(image, tokens), narrow(image, tokens, torch.tensor([[0, 5, 9], [1, 2, 15]]))
    assert torch.equal(fewer[1], whole[1])
    assert torch.equal(fewer[0], narrow.encode_image(image, torch.tensor([[0, 5, 9], [1, 2, 15]])))
    assert not torch.allclose(fewer[0], whole[0], atol=1e-4)
