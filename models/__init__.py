"""The nine CLIPs of the paper: `list_models()`, `create(name)`, `load(path)`, `save(model, path)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.config import config_of, list_models

if TYPE_CHECKING:
    from models.clip import Clip
    from models.config import Activation
    from models.interchange.convert import Format

__all__ = ["config_of", "create", "list_models", "load", "save"]


def create(name: str) -> Clip:
    """A model of the paper with weights drawn from torch's global generator, on the CPU, in training mode; its
    `preprocess` makes the images that it takes. Raises ConfigError for an unknown name."""
    from models.clip import Clip  # light things of this package are imported without torch

    return Clip(config_of(name))


def load(path: str, activation: Activation | None = None) -> Clip:
    """The model in a file or folder of ours, OpenAI's, open_clip's or Hugging Face's, on the CPU, in eval mode.

    `activation` is for files that don't say it. Raises InputError where it is none of these, or a tensor does not fit
    (with its name and both shapes); ConfigError where the activation is missing, or not the one that the files say.
    """
    from models.interchange.convert import load as load_any

    return load_any(path, activation)


def save(model: Clip, path: str, to: Format = "openwit") -> None:
    """The file or folder `path` holds the model afterwards, whole, in one of the formats of `openwit convert`.

    Raises ConfigError where the format can't hold such a model, InputError where `path` exists already.
    """
    from models.interchange.convert import save as save_as

    save_as(model, path, to)
