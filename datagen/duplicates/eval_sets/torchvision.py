"""Evaluation sets that torchvision knows, written as torchvision:CIFAR10?root=DIR&train=false. Nothing is downloaded.

Where the data set keeps its images as files, these come byte for byte; else its pixels come as PNG."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import cv2
import numpy as np

from openwit import storage
from openwit.config import digest
from openwit.errors import ConfigError, InputError

SCHEME = "torchvision:"


@dataclass(frozen=True)
class EvalExample:
    """One image of an evaluation set, as encoded; the label may be empty."""

    key: str
    data: bytes
    label: str


def describe(url: str) -> tuple[str, str, int]:
    """The data set's spec with an absolute root, an identity that changes when its files do, and its length.

    Raises ConfigError for a class or argument that torchvision does not have, InputError where it cannot be opened.
    """
    name, arguments = _split(url)
    spec = f"{SCHEME}{name}?{urlencode(arguments)}"
    number = len(_open(spec))
    return spec, digest(spec, storage.list_tree(arguments["root"])), number


def read(spec: str, span: tuple[int, int]) -> Iterator[EvalExample]:
    """The images number start up to end; the key is the number."""
    dataset = _open(spec)
    classes = getattr(dataset, "classes", None)
    for number in range(*span):
        image, label = dataset[number][:2]
        if isinstance(label, int) and isinstance(classes, (list, tuple)) and label < len(classes):
            label = classes[label]
        yield EvalExample(str(number), image if isinstance(image, bytes) else _png(image), _text(label))


def _split(url: str) -> tuple[str, dict[str, str]]:
    name, _, query = url.removeprefix(SCHEME).partition("?")
    arguments = dict(parse_qsl(query))
    if not name or "root" not in arguments:
        raise ConfigError(f"{url}: expected {SCHEME}CLASS?root=DIR; write e.g. {SCHEME}CIFAR10?root=data&train=false")
    return name, {**arguments, "root": storage.absolute(arguments["root"])}


@functools.lru_cache(maxsize=1)
def _open(spec: str) -> Any:
    """The data set; where its class takes a loader, it gives files as they are."""
    import torchvision

    name, texts = _split(spec)
    kind: Any = getattr(torchvision.datasets, name, None)
    if not inspect.isclass(kind):
        raise ConfigError(f"{spec}: torchvision has no data set {name}")
    known = inspect.signature(kind).parameters
    if unknown := sorted(set(texts) - set(known) | {"download"} & set(texts)):
        allowed = ", ".join(p for p in known if p not in ("download", "transform", "target_transform", "loader"))
        raise ConfigError(f"{spec}: {name} takes no {unknown[0]} here, only {allowed}")
    arguments: dict[str, Any] = {key: _value(text, known[key].default) for key, text in texts.items()}
    try:
        if "loader" in known:
            arguments["loader"] = _read_file
        return kind(**arguments)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{spec}: cannot be opened ({error}); nothing is downloaded here") from None


def _read_file(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def _value(text: str, default: object) -> object:
    """The argument that a text means, of the type of its default."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{text}: expected true or false")
        return text.lower() == "true"
    return int(text) if isinstance(default, int) else text


def _png(image: Any) -> bytes:
    """Of a PIL image or an array, RGB or grey."""
    pixels = np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"), np.uint8)
    return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


def _text(label: object) -> str:
    return str(label) if isinstance(label, (int, str)) else ""
