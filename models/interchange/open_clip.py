"""open_clip's folders: open_clip_config.json says which network the weights beside it are of.

`open_clip.create_model("local-dir:FOLDER")` reads what is written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.clip import Clip
from models.config import (
    Activation,
    ClipConfig,
    PreprocessConfig,
    ResNetConfig,
    TextConfig,
    VisionConfig,
    VisionTransformerConfig,
)
from models.interchange.openai import TEXT, choose_activation
from models.interchange.sizes import fit
from models.interchange.tensors import new_folder, read_tensors, save_tensors
from openwit.errors import ConfigError, InputError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # the first is written


class _OpenClipVision(msgspec.Struct, forbid_unknown_fields=True):
    """Their fields and defaults; one that is not here belongs to networks that are not here either."""

    layers: int | tuple[int, int, int, int] = 12
    width: int = 768
    head_width: int = 64
    patch_size: int = 16
    image_size: int = 224
    mlp_ratio: Literal[4] = 4
    pool_type: Literal["tok"] = "tok"
    patch_dropout: float = 0.0  # in training only


class _OpenClipText(msgspec.Struct, forbid_unknown_fields=True):
    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: Literal[4] = 4
    pool_type: Literal["argmax"] = "argmax"
    pad_id: int = 0  # what stands behind the end token plays no part


class _OpenClipModel(msgspec.Struct, forbid_unknown_fields=True):
    embed_dim: int
    vision_cfg: _OpenClipVision
    text_cfg: _OpenClipText
    quick_gelu: bool = False
    custom_text: bool = False  # only the names of the text tensors differ


class _OpenClipPreprocess(msgspec.Struct):
    mean: tuple[float, float, float] = PreprocessConfig().mean
    std: tuple[float, float, float] = PreprocessConfig().std
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash"] = "shortest"


class _Folder(msgspec.Struct):
    model_cfg: _OpenClipModel
    preprocess_cfg: _OpenClipPreprocess = msgspec.field(default_factory=_OpenClipPreprocess)


def read_folder(folder: Path, described: dict[str, Any], activation: Activation | None) -> Clip:
    """The model that open_clip_config.json, which holds `described`, and the weights beside it make.

    Raises InputError where a tensor does not fit, or the network is not one of OpenAI's kinds."""
    where = folder / CONFIG
    try:
        config = _config(msgspec.convert(_without_empty(described), _Folder))
    except (msgspec.ValidationError, ConfigError) as error:
        raise InputError(f"{where}: describes no CLIP of the paper's kinds ({error})") from None
    choose_activation(where, config.activation, activation)
    weights = next((folder / name for name in WEIGHTS if (folder / name).exists()), folder / WEIGHTS[0])
    tensors = {name.removeprefix(TEXT): tensor for name, tensor in read_tensors(weights).items()}
    return fit(config, tensors, weights)


def _without_empty(found: Any) -> Any:
    """The same without what is null or false, which switches a feature off."""
    if not isinstance(found, dict):
        return found
    return {name: _without_empty(value) for name, value in found.items() if value is not None and value is not False}


def _config(found: _Folder) -> ClipConfig:
    vision, text = found.model_cfg.vision_cfg, found.model_cfg.text_cfg
    tower: VisionConfig
    if isinstance(vision.layers, tuple):
        heads = 32 * vision.width // vision.head_width
        tower = ResNetConfig(image_px=vision.image_size, layers=vision.layers, width=vision.width, heads=heads)
    else:
        tower = VisionTransformerConfig(
            image_px=vision.image_size, patch_px=vision.patch_size, width=vision.width, layers=vision.layers,
            heads=vision.width // vision.head_width,
        )  # fmt: skip
    return ClipConfig(
        embed_dim=found.model_cfg.embed_dim,
        activation="quick_gelu" if found.model_cfg.quick_gelu else "gelu",
        vision=tower,
        text=TextConfig(
            context_length=text.context_length, vocabulary_size=text.vocab_size, width=text.width, layers=text.layers,
            heads=text.heads,
        ),
        preprocess=PreprocessConfig(**msgspec.to_builtins(found.preprocess_cfg)),
    )  # fmt: skip


def write_folder(model: Clip, folder: Path) -> None:
    """Publishes the model. Raises ConfigError where its text tower is not the transformer."""
    described = {"model_cfg": _describe(model.config), "preprocess_cfg": msgspec.to_builtins(model.config.preprocess)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with new_folder(folder) as made:
        save_tensors(tensors, made / WEIGHTS[0], metadata={"format": "pt"})
        (made / CONFIG).write_text(json.dumps(described, indent=2) + "\n")


def _describe(config: ClipConfig) -> dict[str, object]:
    vision, text = config.vision, config.text
    if text.kind != "transformer":
        raise ConfigError(f"--to open_clip: it has no text tower of kind {text.kind}; write --to openwit")
    described: dict[str, object] = {"image_size": vision.image_px, "layers": vision.layers, "width": vision.width}
    described["head_width"] = vision.feature_width // vision.heads
    if isinstance(vision, VisionTransformerConfig):
        described["patch_size"] = vision.patch_px
    return {
        "embed_dim": config.embed_dim,
        "quick_gelu": config.activation == "quick_gelu",
        "vision_cfg": described,
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocabulary_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
    }
