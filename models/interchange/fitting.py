"""Weights into a network: all of them, of the right shapes, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.clip import Clip
from models.config import ClipConfig
from openwit.errors import ConfigError, InputError

NAMED_AT_ONCE = 3
MOST_LAYERS = 1000  # a file that says more is broken, or means to keep us busy
COUNTER = "num_batches_tracked"  # of a batch norm; plays no part in the network, and some files leave it out


def empty_model(config: ClipConfig) -> Clip:
    """The network without memory for its weights: names and shapes only. Raises ConfigError where it is absurd."""
    layers = config.vision.layers if isinstance(config.vision.layers, tuple) else (config.vision.layers,)
    if sum(layers) + config.text.layers > MOST_LAYERS:
        raise ConfigError(f"a network of {sum(layers)} and {config.text.layers} layers: no CLIP has over {MOST_LAYERS}")
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
