"""One function for every form in which a CLIP travels."""

from __future__ import annotations

from pathlib import Path

from models.clip import Clip
from models.interchange import hugging_face, onnx_graphs, open_clip, openai, openwit_folder
from models.interchange.formats import Format
from openwit.errors import ConfigError

WRITERS = {
    "openwit": openwit_folder.write_folder,
    "openai": openai.write_file,
    "open_clip": open_clip.write_folder,
    "huggingface": hugging_face.write_folder,
    "onnx": onnx_graphs.write_folder,
}


def save(model: Clip, path: str | Path, to: Format = "openwit") -> None:
    """The file or folder `path` holds the model afterwards, whole; the model is as it was.

    Raises ConfigError where the format can't tell of such a model, InputError where `path` exists already, WorkError
    where it cannot be written.
    """
    if to not in WRITERS:
        raise ConfigError(f"to={to}: unknown format; there are {', '.join(WRITERS)}")
    WRITERS[to](model, Path(path))
