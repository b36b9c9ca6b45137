"""Named tensors from whatever file holds them, and to safetensors. Nothing of a file is run.

Files and folders that appear under their name whole or not at all.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.interchange.archive import is_archive, read_archive
from openwit import storage
from openwit.errors import InputError, WorkError

# Masks and running numbers that some versions of the networks keep beside their weights.
NOT_WEIGHTS = ("attn_mask", "position_ids")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights in a .safetensors file, a TorchScript archive or a file of `torch.save`, on the CPU.

    Of a training checkpoint, only its `state_dict`; a prefix `module.` (of distributed training) is cut. Raises
    InputError where the file is missing, damaged, or holds pickled code: that is never run.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        found = _read_safetensors(path)
    elif is_archive(path):
        found = read_archive(path)
    else:
        found = _read_pickle(path)
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return {name: tensor for name, tensor in found.items() if name.rsplit(".", 1)[-1] not in NOT_WEIGHTS}


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a .safetensors file that may be read by whom new files may: safetensors alone keeps it from all others.
    Raises SafetensorError or OSError."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata)
    path.chmod(mode)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: is no readable safetensors file ({error}); fetch it again") from None


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if asked := re.search(r"(?:unsupported|Unsupported global:) GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{path}: asks to run {asked[1]}, which weights do not need; it was not run. Take the model as "
                ".safetensors, or save its state_dict alone"
            ) from None
        raise InputError(f"{path}: holds more than weights, and was not read; take the model as .safetensors") from None
    except Exception as error:  # damage makes this reader raise anything, failed assertions too
        raise InputError(f"{path}: is damaged, or no file of weights ({str(error)[:200]}); fetch it again") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path}: holds a {type(found).__name__}; expected weights by name, a state_dict")
    if others := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path}: {others[0]} is no tensor; expected weights by name, a state_dict")
    return found


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to; when the block ends well it gets the target's name.

    Raises InputError where the target exists, WorkError where it cannot be written."""
    with _scratch(target) as scratch:
        yield scratch / target.name
        storage.publish(scratch / target.name, str(target))


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it gets the target's name.

    Raises InputError where the target exists, WorkError where it cannot be written."""
    with _scratch(target) as scratch:
        made = scratch / target.name
        made.mkdir()
        yield made
        storage.publish_folder(made, str(target))


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    if target.exists():
        raise InputError(f"{target}: exists already; delete it, or give another target")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise WorkError(f"{target}: cannot be written ({error.strerror}); give a target that can") from error
    try:
        yield Path(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkError(
            f"{target}: cannot be written ({reason}); free some space, or give a target that can"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
