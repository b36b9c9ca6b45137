"""OpenAI's files: a TorchScript archive, or its state dict; and open_clip's bare files, which have the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.clip import Clip
from models.config import Activation, ClipConfig
from models.interchange.archive import write_archive
from models.interchange.sizes import fit, sizes_of
from models.interchange.tensors import new_file, read_tensors
from openwit.errors import ConfigError, InputError

MARKS = ("input_resolution", "context_length", "vocab_size")  # numbers that only OpenAI's own files hold
TEXT = "text."  # open_clip's prefix of the text tower in models whose towers are chosen apart


def read_file(path: Path, activation: Activation | None) -> Clip:
    """The model in a file of weights. Raises InputError where it is no CLIP, ConfigError where the activation is not
    given and the file is not OpenAI's own: weights do not show it, and a wrong one shifts features in silence."""
    tensors = {name.removeprefix(TEXT): tensor for name, tensor in read_tensors(path).items()}
    marks = [tensors.pop(name, None) for name in MARKS]
    stated: Activation | None = None if any(mark is None for mark in marks) else "quick_gelu"
    return fit(sizes_of(tensors, choose_activation(path, stated, activation), path), tensors, path)


def choose_activation(where: Path, stated: Activation | None, given: Activation | None) -> Activation:
    """What the files state, or the user gives. Raises ConfigError where they differ, or neither says anything."""
    if stated and given and stated != given:
        raise ConfigError(f"activation={given}: {where} says {stated}, and another spoils its features; leave it out")
    if chosen := stated or given:
        return chosen
    raise ConfigError(
        f"{where}: does not say its activation; write --activation quick_gelu (OpenAI's weights, open_clip's models "
        "named …-quickgelu) or --activation gelu (open_clip's others)"
    )


def write_file(model: Clip, path: Path) -> None:
    """Publishes a TorchScript archive of the weights. What loses nothing by it is written in fp16, as OpenAI's are.

    Raises ConfigError where the file would be read as another model: it holds tensors, and nothing about them."""
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    _require_told_by_tensors(model.config, tensors, path)
    marks = (model.config.vision.image_px, model.config.text.context_length, model.config.text.vocabulary_size)
    whole = {name: _halved(tensor) for name, tensor in tensors.items()}
    whole |= {name: torch.tensor(mark) for name, mark in zip(MARKS, marks, strict=True)}
    with new_file(path) as made:
        write_archive(whole, made)


def _require_told_by_tensors(config: ClipConfig, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        read = sizes_of(tensors, "quick_gelu", path)
    except InputError as error:
        raise ConfigError(f"--to openai: {error}; write --to openwit") from None
    for name in (field.name for field in dataclasses.fields(config)):
        if getattr(read, name) != getattr(config, name):
            raise ConfigError(f"--to openai: the format has no place for this model's {name}; write --to open_clip")


def _halved(tensor: Tensor) -> Tensor:
    half = tensor.half()
    return half if tensor.is_floating_point() and torch.equal(half.to(tensor.dtype), tensor) else tensor.contiguous()
