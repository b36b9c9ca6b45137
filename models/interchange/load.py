"""One function for every form in which a CLIP travels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from models.clip import Clip
from models.config import Activation
from models.interchange import hugging_face, open_clip, openwit_folder
from models.interchange.openai import read_file
from openwit.errors import InputError


def load(path: str | Path, activation: Activation | None = None) -> Clip:
    """The model in a file or folder of ours, OpenAI's, open_clip's or Hugging Face's: fp32, on the CPU, in eval mode.

    `activation` is for files that don't say it. Nothing in a file is run. Raises InputError where it is none of these,
    or a tensor does not fit (with its name and both shapes); ConfigError where the activation is missing or another.
    """
    path = Path(path)
    if path.is_file():
        return read_file(path, activation)
    if (described := _read_json(path / open_clip.CONFIG)) is not None:
        return open_clip.read_folder(path, described, activation)
    described = _read_json(path / openwit_folder.CONFIG) or {}
    if "model_type" in described:
        return hugging_face.read_folder(path, described, activation)
    if "embed_dim" in described:
        return openwit_folder.read_folder(path, described, activation)
    if "logit_scale" in described:
        raise InputError(f"{path}: holds ONNX graphs, which can't be read back; give what they were made of")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    raise InputError(
        f"{path}: holds no model; expected a file of weights, a folder with {openwit_folder.CONFIG} or "
        f"{open_clip.CONFIG}, or a checkpoint …/pretrain/checkpoints/step-NNNNNNNN"
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no JSON object ({error})") from None
