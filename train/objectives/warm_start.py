"""A model to begin with: another training's, or a released one, at this training's resolution (the paper's last epoch
of ViT-L/14 at 336 pixels, section 2.5). Light to import (no torch)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import models
from models.config import ClipConfig
from openwit import storage
from openwit.config import describe
from openwit.errors import ConfigError, InputError

if TYPE_CHECKING:
    from models.clip import Clip

READ = (".json", ".safetensors", ".bin")  # files of a folder that can tell of a model


def warm_start(model: Clip, path: str) -> None:
    """Gives the network the weights of a file or folder that `models.load` takes; positions are interpolated to the
    network's resolution.

    Raises InputError where there is no model, ConfigError where it has other sizes: says which, and what to write.
    """
    found = models.load(path, model.config.activation)
    _require_same(found.config, model.config, path)
    found.resize_image(model.config.vision.image_px)
    model.load_state_dict(found.state_dict())


def _require_same(found: ClipConfig, wanted: ClipConfig, path: str) -> None:
    if type(found.vision) is not type(wanted.vision):
        kinds = (type(found.vision).__name__, type(wanted.vision).__name__)
        raise ConfigError(
            f"pretrain.initial={path}: its image tower is of {kinds[0].removesuffix('Config')}, pretrain.model's of "
            f"{kinds[1].removesuffix('Config')}; write --pretrain.model with the name of its model"
        )
    values = {entry.path: entry.value for entry in describe(found)}
    for entry in describe(wanted):
        if entry.path != "vision.image_px" and values[entry.path] != entry.value:
            value = _written(values[entry.path])
            raise ConfigError(
                f"pretrain.model.{entry.path}={_written(entry.value)}: the model in {path} has {value}; "
                f"write --pretrain.model.{entry.path} {value}, or begin with another"
            )


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def initial_digest(path: str) -> str:
    """A text that changes when what is in the file or folder does. Raises InputError where there is nothing."""
    folder = Path(storage.local_path(path))
    if not folder.is_dir():
        return storage.identity(path)
    files = sorted(file for file in folder.iterdir() if file.suffix in READ)
    if not files:
        raise InputError(f"{path}: holds no model; pretrain.initial takes a file of weights, or a folder with a config")
    marks = "\n".join(f"{file.name} {storage.identity(str(file))}" for file in files)
    return hashlib.sha256(marks.encode()).hexdigest()
