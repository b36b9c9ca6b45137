from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.clips import RESNET, VIT
from models.config import CONFIGS, ClipConfig
from models.interchange.sizes import empty_model, sizes_of
from openwit.errors import InputError

WHERE = Path("weights.pt")


def shapes(config: ClipConfig) -> dict[str, torch.Tensor]:
    return empty_model(config).state_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_tensors_of_each_model_of_the_paper_tell_its_sizes(name: str) -> None:
    assert sizes_of(shapes(CONFIGS[name]), "quick_gelu", WHERE) == CONFIGS[name]


def without(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {other: tensor for other, tensor in tensors.items() if other != name}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (VIT, "visual.conv1.weight"),
        (VIT, "visual.positional_embedding"),
        (VIT, "ln_final.weight"),
        (RESNET, "visual.attnpool.positional_embedding"),
        (RESNET, "text_projection"),
    ],
)
def test_weights_of_something_else_are_refused_by_the_tensor_they_lack(config: ClipConfig, name: str) -> None:
    with pytest.raises(InputError, match=rf"weights\.pt: is no CLIP of the paper's kinds: lacks {name}"):
        sizes_of(without(shapes(config), name), "quick_gelu", WHERE)


def test_the_image_tower_of_another_library_is_named() -> None:
    with pytest.raises(InputError, match="its image tower is another library's"):
        sizes_of({"visual.trunk.blocks.0.weight": torch.ones(1)}, "gelu", WHERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.positional_embedding": torch.ones(12, 128)}, "12 positions of an image are no square and one more"),
        ({"ln_final.weight": torch.ones(100)}, "width of 100 is no multiple of 64"),
        ({"ln_final.weight": torch.ones(())}, "make no CLIP"),
        ({"visual.conv1.weight": torch.ones(4)}, "make no CLIP"),
        ({"positional_embedding": torch.ones(1, 64)}, r"context_length=1: must hold"),
    ],
)
def test_tensors_that_make_no_network_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sizes_of(shapes(VIT) | change, "quick_gelu", WHERE)
