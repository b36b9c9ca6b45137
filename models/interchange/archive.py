"""TorchScript archives, the form of OpenAI's released weights: read without running them, and written.

An archive is a zip: NAME/data.pkl holds the tree of modules, NAME/data/KEY the bytes of each storage, NAME/code/ a
program. `torch.jit.load` compiles that program and runs what it says about restoring its state, and TorchScript can
write files; so the tree is read here by an unpickler that knows tensors and nothing else.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from openwit.errors import InputError

STORAGES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive; what `torch.save` writes has no constants."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return False


def read_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of the archive's modules by dotted name, in their own precision, on the CPU.

    Raises InputError where the archive is damaged, or asks for anything but tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            (tree,) = (name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1)
            with archive.open(tree) as file:
                root = _TensorsOnly(file, archive, tree.removesuffix(".pkl")).load()
        return dict(_tensors(root))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # damage makes the readers of zip, pickle and tensors raise anything
        raise InputError(f"{path}: is a damaged TorchScript archive ({error}); fetch it again") from None


class _Module:
    """Stands for any class of the archive's program; its attributes are its tensors and submodules."""


class _TensorsOnly(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":  # lists and tags of types: build_intlist and its like
            return _first
        raise InputError(f"asks to run {module}.{name}, which weights do not need; it was not run")

    def persistent_load(self, pid: Any) -> Tensor:
        """The storage as a flat tensor, wherever it lay when it was saved."""
        _, dtype, key, _, numel = pid
        record = self._archive.getinfo(f"{self._folder}/{key}")
        if record.file_size != numel * dtype.itemsize:
            raise ValueError(f"{record.filename} has {record.file_size} bytes for {numel} numbers of {dtype}")
        if not numel:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(record)), dtype=dtype)


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset)  # refuses what reaches past the storage


def _first(value: object, *_: object) -> object:
    return value


def _tensors(module: object, prefix: str = "") -> list[tuple[str, Tensor]]:
    found = []
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            found.append((prefix + name, value))
        elif isinstance(value, _Module):
            found += _tensors(value, f"{prefix}{name}.")
    return found


def write_archive(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A TorchScript archive whose `state_dict()` holds the tensors. It has no `forward`: it carries weights."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module.get_submodule(parent)
        module.register_buffer(leaf, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the form is old; so are those who read it
        made = io.BytesIO()  # straight to a file, its writer would end the process where the disk is full
        torch.jit.save(torch.jit.script(root), made)
    path.write_bytes(made.getbuffer())
