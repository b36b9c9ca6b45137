"""The forms in which models travel; light to import (no torch), for the command line's help.

One function for every form in which a CLIP travels.

One function for every form in which a CLIP travels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from models.clip import Clip
from models.config import Activation
from models.interchange import hugging_face, onnx_graphs, open_clip, openai, openwit_folder
from models.interchange.openai import read_file
from openwit.errors import ConfigError, InputError

Format = Literal["openwit", "openai", "open_clip", "huggingface", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
MEANING: dict[Format, str] = {
    "openwit": "a folder of model.safetensors and config.json",
    "openai": "a TorchScript archive (.pt) of weights, as OpenAI released them",
    "open_clip": "a folder of open_clip_model.safetensors and open_clip_config.json",
    "huggingface": "a folder that transformers.CLIPModel.from_pretrained reads; vision transformers only",
    "onnx": "a folder of image.onnx, text.onnx and config.json; can't be read back",
}


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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON object ({error})") from None


WRITERS = {
    "openwit": openwit_folder.write_folder,
    "openai": openai.write_file,
    "open_clip": open_clip.write_folder,
    "huggingface": hugging_face.write_folder,
    "onnx": onnx_graphs.write_folder,
}


def save(model: Clip, path: str | Path, to: Format = "openwit") -> None:
    """The file or folder `path` holds the model afterwards, whole; the model is as it was.

    Raises ConfigError where the format can't hold such a model, InputError where `path` exists already, WorkError
    where it cannot be written.
    """
    if to not in WRITERS:
        raise ConfigError(f"to={to}: unknown format; there are {', '.join(WRITERS)}")
    WRITERS[to](model, Path(path))
