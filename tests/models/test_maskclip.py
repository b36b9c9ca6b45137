# mypy: disable-error-code="arg-type, operator, union-attr"
"""Label maps of images whose every patch is known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from helpers.clips import RESNET, VIT, random_clip
from models.clip import Clip
from models.config import ClipConfig
from models.maskclip import MAX_WINDOWS, embed_labels, label_map
from openwit.errors import InputError

COLORS = ((230, 20, 20), (20, 200, 60), (30, 30, 220))


def crafted() -> Clip:
    """A ViT of one block without positions: what it says of a patch depends on the patch's colours alone."""
    model = random_clip(dataclasses.replace(VIT, vision=dataclasses.replace(VIT.vision, layers=1)))
    with torch.no_grad():
        model.visual.positional_embedding.zero_()
        model.visual.class_embedding.fill_(1.0)
    return model


@torch.no_grad()
def seen_colors(model: Clip) -> Tensor:
    """[3, E]: as label embeddings, what the model says of a patch of each colour."""
    px = model.config.vision.image_px
    plain = torch.stack([model.preprocess(Image.new("RGB", (px, px), color)) for color in COLORS])
    middle = model.config.vision.grid // 2
    return F.normalize(model.visual.dense(plain)[:, middle, middle], dim=-1)


def painted(expected_HW: Tensor) -> Image.Image:
    """An image whose pixel is of the colour that the map says."""
    return Image.fromarray(torch.tensor(COLORS, dtype=torch.uint8)[expected_HW].numpy())


@pytest.mark.parametrize("seed", range(5))
def test_every_patch_of_any_pattern_gets_its_own_label(seed: int) -> None:
    model = crafted()
    pattern = torch.randint(3, (4, 4), generator=torch.Generator().manual_seed(seed))
    whole = pattern.repeat_interleave(16, 0).repeat_interleave(16, 1)
    found = label_map(model, painted(whole), seen_colors(model))
    assert torch.equal(found[7::16, 7::16], pattern)
    assert torch.equal(found[8::16, 8::16], pattern)


def test_windows_along_the_longer_side_join_without_a_seam() -> None:
    model = crafted()
    for width in (128, 192, 64):  # whole windows; each side's border lies between patches
        stripes = (torch.arange(width) // 32 % 3).expand(64, width)
        assert torch.equal(label_map(model, painted(stripes), seen_colors(model)), stripes)
        assert torch.equal(label_map(model, painted(stripes.T), seen_colors(model)), stripes.T)


def test_the_map_has_the_images_size_and_its_borders_lie_where_the_images_do() -> None:
    model = crafted()
    halves = (torch.arange(301) > 150).long().expand(97, 301)
    found = label_map(model, painted(halves), seen_colors(model))
    assert found.shape == (97, 301)
    wrong = found != halves
    assert not wrong[:, :125].any()
    assert not wrong[:, 177:].any()  # a patch is 97 / 4 pixels here


def test_a_resnet_finds_the_halves_too() -> None:
    config = dataclasses.replace(RESNET, vision=dataclasses.replace(RESNET.vision, image_px=256))
    torch.manual_seed(0)
    model = Clip(config).eval()  # as drawn, each block is its shortcut: a place sees little beyond its own pixels
    with torch.no_grad():
        model.visual.attnpool.positional_embedding.zero_()
    halves = (torch.arange(256) >= 128).long().expand(256, 256)
    found = label_map(model, painted(halves), seen_colors(model)[:2])
    assert (found == halves).float().mean() > 0.9


@pytest.mark.parametrize("config", [VIT, RESNET])
def test_the_order_of_the_labels_does_not_matter(config: ClipConfig) -> None:
    model = random_clip(config)
    noise = torch.randint(256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(noise.numpy())
    with torch.no_grad():
        labels = model.visual.dense(model.preprocess(image)[None]).flatten(0, 2)[:4]  # what four of its patches say
    turned = label_map(model, image, labels.flip(0))
    assert torch.equal(3 - turned, label_map(model, image, labels))
    assert len(turned.unique()) == 4


def test_the_length_of_a_label_embedding_does_not_matter() -> None:
    model = crafted()
    image, labels = painted(torch.zeros(64, 64, dtype=torch.int64)), seen_colors(model)
    assert (label_map(model, image, labels * torch.tensor([[0.1], [5.0], [9.0]])) == 0).all()


def test_an_image_too_long_and_thin_is_refused_with_the_limit() -> None:
    with pytest.raises(InputError, match=f"1x{MAX_WINDOWS + 1} pixels is too long and thin; crop it to at most"):
        label_map(crafted(), Image.new("RGB", (1, MAX_WINDOWS + 1)), torch.ones(2, 48))


def test_labels_are_put_into_the_prompt_and_embedded_as_unit_vectors() -> None:
    asked: list[str] = []

    class Spelling:
        def encode(self, texts: list[str]) -> Tensor:
            asked.extend(texts)
            return torch.tensor([[298, len(text), 299] for text in texts])

    model = random_clip(VIT)
    found = embed_labels(model, Spelling(), ["cat", "zebra"], "a {label} here")
    assert asked == ["a cat here", "a zebra here"]
    torch.testing.assert_close(found, model.encode_text(torch.tensor([[298, 10, 299], [298, 12, 299]])).detach())
