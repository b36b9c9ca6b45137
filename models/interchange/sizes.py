"""The sizes of a network, read off its tensors: OpenAI's files and bare files of open_clip say nothing else.

Weights into a network: all of them, of the right shapes, or none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.clip import Clip
from models.config import Activation, ClipConfig, ResNetConfig, TextConfig, VisionConfig, VisionTransformerConfig
from openwit.errors import ConfigError, InputError

HEAD_WIDTH = 64  # channels of an attention head in every CLIP; the tensors don't show it


def sizes_of(tensors: Mapping[str, Tensor], activation: Activation, where: Path) -> ClipConfig:
    """The network that tensors of OpenAI's names belong to, with OpenAI's preprocessing.

    Raises InputError where they are no CLIP of the paper's kinds, or don't agree with each other."""
    try:
        vision = _vision(tensors)
        text_width = tensors["ln_final.weight"].shape[0]
        text = TextConfig(
            context_length=tensors["positional_embedding"].shape[0],
            vocabulary_size=tensors["token_embedding.weight"].shape[0],
            width=text_width,
            layers=_count(tensors, r"transformer\.resblocks\.(\d+)\."),
            heads=_heads(text_width),
        )
        return ClipConfig(
            embed_dim=tensors["text_projection"].shape[1], activation=activation, vision=vision, text=text
        )
    except KeyError as missing:
        hint = "; its image tower is another library's" if any(n.startswith("visual.trunk.") for n in tensors) else ""
        raise InputError(f"{where}: is no CLIP of the paper's kinds: lacks {missing.args[0]}{hint}") from None
    except (ConfigError, IndexError, ValueError) as error:
        raise InputError(f"{where}: its tensors make no CLIP ({error})") from None


def _vision(tensors: Mapping[str, Tensor]) -> VisionConfig:
    if "visual.layer1.0.conv1.weight" in tensors:
        width = tensors["visual.layer1.0.conv1.weight"].shape[0]
        return ResNetConfig(
            image_px=32 * _grid(tensors["visual.attnpool.positional_embedding"]),
            layers=tuple(_count(tensors, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
            width=width,
            heads=_heads(32 * width),
        )
    width, _, patch_px, _ = tensors["visual.conv1.weight"].shape
    return VisionTransformerConfig(
        image_px=patch_px * _grid(tensors["visual.positional_embedding"]),
        patch_px=patch_px,
        width=width,
        layers=_count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=_heads(width),
    )


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _grid(positions: Tensor) -> int:
    """Places along a side; the first position is the class token's, or the mean's."""
    grid = math.isqrt(positions.shape[0] - 1)
    if grid**2 != positions.shape[0] - 1:
        raise ValueError(f"{positions.shape[0]} positions of an image are no square and one more")
    return grid


def _heads(width: int) -> int:
    if width % HEAD_WIDTH:
        raise ValueError(f"a width of {width} is no multiple of {HEAD_WIDTH}, the width of CLIP's attention heads")
    return width // HEAD_WIDTH


NAMED_AT_ONCE = 3
MAX_LAYERS = 1000  # a file that says more is broken, or means to keep us busy
COUNTER = "num_batches_tracked"  # of a batch norm; plays no part in the network, and some files leave it out


def empty_model(config: ClipConfig) -> Clip:
    """The network without memory for its weights: names and shapes only. Raises ConfigError where it is absurd."""
    layers = config.vision.layers if isinstance(config.vision.layers, tuple) else (config.vision.layers,)
    if sum(layers) + config.text.layers > MAX_LAYERS:
        raise ConfigError(f"a network of {sum(layers)} and {config.text.layers} layers: no CLIP has over {MAX_LAYERS}")
    with torch.device("meta"):
        return Clip(config)


def fit(config: ClipConfig, tensors: Mapping[str, Tensor], where: Path) -> Clip:
    """The network with these weights in fp32, on the CPU, in eval mode. Raises InputError as `require_fit` does."""
    model = empty_model(config)
    expected = model.state_dict()
    tensors = {**{name: torch.tensor(0) for name in expected if name.endswith(COUNTER)}, **tensors}
    require_fit(tensors, expected, where)
    model.to_empty(device="cpu").load_state_dict(tensors)
    return model.eval()


def require_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: Path) -> None:
    """Raises InputError naming the tensors that are missing, unexpected, or of another shape (both shapes)."""
    if missing := [name for name in expected if name not in found]:
        raise InputError(f"{where}: lacks {_listed(missing)}; this network has {len(expected)} tensors")
    if unexpected := [name for name in found if name not in expected]:
        raise InputError(f"{where}: holds {_listed(unexpected)}, for which this network has no place")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise InputError(f"{where}: {name} is {_shape(found[name])}, expected {_shape(tensor)}")


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_AT_ONCE
    return ", ".join(names[:NAMED_AT_ONCE]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
