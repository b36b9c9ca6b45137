"""Our own folders: model.safetensors, and config.json, which says all that the weights can't."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec

from models.clip import Clip
from models.config import Activation, ClipConfig, PreprocessConfig, ResNetConfig, TextConfig, VisionTransformerConfig
from models.interchange.openai import choose_activation
from models.interchange.sizes import fit
from models.interchange.tensors import new_folder, read_tensors, save_tensors
from openwit.errors import ConfigError, InputError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def config_json(config: ClipConfig) -> bytes:
    """What config.json holds: every field of the model, activation and preprocessing too."""
    return (json.dumps(msgspec.to_builtins(config), indent=2) + "\n").encode()


def read_folder(folder: Path, described: dict[str, Any], activation: Activation | None) -> Clip:
    """The model whose config.json holds `described`. Raises InputError where that, or a tensor, does not fit."""
    where = folder / CONFIG
    _require_fields(where, "model", described, ClipConfig)
    vision = described["vision"]
    tower = VisionTransformerConfig if isinstance(vision, dict) and "patch_px" in vision else ResNetConfig
    config = ClipConfig(
        embed_dim=_parse(where, "embed_dim", described["embed_dim"], int),
        activation=_parse(where, "activation", described["activation"], Activation),
        vision=_parse(where, "vision", vision, tower),
        text=_parse(where, "text", described["text"], TextConfig),
        preprocess=_parse(where, "preprocess", described["preprocess"], PreprocessConfig),
    )
    choose_activation(where, config.activation, activation)
    return fit(config, read_tensors(folder / WEIGHTS), folder / WEIGHTS)


def write_folder(model: Clip, folder: Path) -> None:
    """Publishes the model."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with new_folder(folder) as made:
        save_tensors(tensors, made / WEIGHTS)
        (made / CONFIG).write_bytes(config_json(model.config))


def _parse(where: Path, name: str, found: object, kind: Any) -> Any:
    """`found` as a `kind`; a section has each of its fields and no other."""
    if dataclasses.is_dataclass(kind):
        _require_fields(where, name, found, kind)
    try:
        return msgspec.convert(found, kind)
    except (msgspec.ValidationError, ConfigError) as error:
        raise InputError(f"{where}: {name}: {error}") from None


def _require_fields(where: Path, name: str, found: object, kind: Any) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} is no section; expected {', '.join(sorted(fields))}")
    if wrong := sorted(found.keys() ^ fields):
        problem = "is unknown" if wrong[0] in found else "is missing"
        raise InputError(f"{where}: {name}.{wrong[0]} {problem}; expected {', '.join(sorted(fields))}")
