"""A descriptor of images, loaded from a file: unit vectors whose inner product tells copies from other images.

What can be loaded:
    FOLDER/                  model.safetensors and config.json, as train-detector writes them
    FILE.pt                  a TorchScript module (SSCD's releases), normalised float images [B, 3, S, S] -> [B, D]
    FILE.pt, FILE.safetensors    a state dict, with its network named in FILE.json

FILE.json may give image_px, mean and std (three numbers of pixels in [0, 1]; left out: ImageNet's), and for a state
dict {"detector": sizes as in config.json} or {"torchvision": "resnet50", "embed_dim": 512}.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.detector.config import DetectorConfig
from models.detector.detector import Detector, fold_weight_norm
from models.preprocess import MEAN_RGB, STD_RGB
from openwit.errors import ConfigError, InputError
from openwit.images import decode_reduced

MODEL, CONFIG = "model.safetensors", "config.json"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SSCD_PX = 288  # side of the images that SSCD's authors measured with, squeezed to a square

Pixels = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Descriptor:
    """Images to unit vectors. `digest` differs where the vectors could: of the weights and of what is done to
    pixels."""

    name: str
    image_px: int
    dim: int
    digest: str
    mean: Triple
    std: Triple
    call: Callable[[Tensor], Tensor] = field(repr=False)
    network: nn.Module = field(repr=False)

    @property
    def device(self) -> torch.device:
        """Where vectors are made."""
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    def to(self, device: str | torch.device) -> Descriptor:
        """The same descriptor, its weights moved to another device."""
        self.network.to(device)
        return self

    def prepare(self, image: bytes | Pixels) -> Pixels:
        """uint8 [3, S, S] of an encoded image, or of a decoded one, RGB [H, W, 3]: squeezed whole into the square.
        Raises InputError where the bytes are no image."""
        pixels = decode_reduced(image, self.image_px) if isinstance(image, bytes) else image
        return np.ascontiguousarray(squeeze(pixels, self.image_px).transpose(2, 0, 1))

    @torch.inference_mode()
    def embed(self, pixels: Tensor | Pixels) -> Tensor:
        """float32 unit vectors [B, D] on the descriptor's device, of prepared images, uint8 [B, 3, S, S]."""
        x = torch.as_tensor(pixels).to(self.device, non_blocking=True).float() / 255
        mean = torch.tensor(self.mean, device=self.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(3, 1, 1)
        return F.normalize(self.call((x - mean) / std).float(), dim=-1)


def load_descriptor(path: str, device: str = "cpu") -> Descriptor:
    """The descriptor at a local path, in one of the forms above. Weights are read without running pickled code; a
    TorchScript file is a program, so load one of people whom you trust.

    Raises InputError where it cannot be read, ConfigError where the file beside it says too little.
    """
    place = Path(path)
    if place.is_dir():
        if (place / "model" / MODEL).is_file():
            raise InputError(f"{path}: holds the training of a detector; give {place / 'model'}")
        made = _from_state_dict(place / MODEL, _read_notes(place / CONFIG, required=True))
        return replace(made, name=place.resolve().name).to(device)
    if not place.is_file():
        raise InputError(f"{path}: no such descriptor; expected a folder with {MODEL}, or a file")
    notes = _read_notes(place.with_suffix(".json"), required=False)
    made = _from_torchscript(place, notes) if _is_torchscript(place) else _from_state_dict(place, notes)
    return made.to(device)


class Notes(msgspec.Struct, forbid_unknown_fields=True):
    """What stands beside the weights."""

    detector: DetectorConfig | None = None
    torchvision: str | None = None
    embed_dim: int | None = None
    image_px: int | None = None
    mean: Triple | None = None
    std: Triple | None = None


def squeeze(image: Pixels, image_px: int) -> Pixels:
    """The whole image as a square, uint8 [S, S, 3]: its shape is lost, so a stretched copy looks the same."""
    if image.shape[:2] == (image_px, image_px):
        return image
    shrinks = min(image.shape[:2]) >= image_px
    flag = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (image_px, image_px), interpolation=flag), np.uint8)


def _from_state_dict(weights: Path, notes: Notes) -> Descriptor:
    if notes.detector is not None:
        detector = Detector(notes.detector)
        _fill(detector, weights)
        fold_weight_norm(detector)
        network, image_px, dim = detector.eval(), notes.detector.image_px, notes.detector.embed_dim
        mean, std = notes.mean or MEAN_RGB, notes.std or STD_RGB
        return _describe(weights, detector.embed, (image_px, dim, mean, std), network)
    if notes.torchvision is None or notes.embed_dim is None:
        raise ConfigError(
            f"{weights.with_suffix('.json')}: a state dict needs its network named; write "
            '{"detector": …} as in the config.json of train-detector, or {"torchvision": "resnet50", "embed_dim": 512}'
        )
    from torchvision.models import get_model, list_models

    if notes.torchvision not in list_models():
        raise ConfigError(f"{weights.with_suffix('.json')}: torchvision={notes.torchvision}: torchvision has no such")
    model = get_model(notes.torchvision, weights=None, num_classes=notes.embed_dim)
    _fill(model, weights)
    shape = (notes.image_px or 224, notes.embed_dim, notes.mean or IMAGENET_MEAN, notes.std or IMAGENET_STD)
    return _describe(weights, model.eval(), shape, model)


def _from_torchscript(weights: Path, notes: Notes) -> Descriptor:
    try:
        module = torch.jit.load(str(weights), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{weights}: cannot be read ({str(error).splitlines()[0]})") from None
    image_px = notes.image_px or SSCD_PX
    with torch.inference_mode():
        dim = module(torch.zeros(1, 3, image_px, image_px)).shape[-1]
    shape = (image_px, dim, notes.mean or IMAGENET_MEAN, notes.std or IMAGENET_STD)
    return _describe(weights, module, shape, module)


def _describe(
    weights: Path, call: Callable[[Tensor], Tensor], shape: tuple[int, int, Triple, Triple], network: nn.Module
) -> Descriptor:
    image_px, dim, mean, std = shape
    seen = hashlib.sha256(weights.read_bytes())
    seen.update(repr((type(network).__name__, *shape)).encode())
    return Descriptor(weights.stem, image_px, dim, seen.hexdigest()[:32], mean, std, call, network)


def _fill(model: nn.Module, weights: Path) -> None:
    try:
        if weights.suffix == ".safetensors":
            tensors = load_file(weights)
        else:
            tensors = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"{weights}: cannot be read ({str(error).splitlines()[0]})") from None
    except (RuntimeError, TypeError, AttributeError) as error:
        last_line = str(error).splitlines()[-1].strip()
        raise InputError(f"{weights}: does not fit the network ({last_line})") from None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_notes(path: Path, required: bool) -> Notes:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Notes)
    except FileNotFoundError:
        if required:
            raise InputError(f"{path}: no such file; expected a folder that train-detector wrote") from None
        return Notes()
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
