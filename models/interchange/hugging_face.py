"""Hugging Face's folders: config.json, model.safetensors and preprocessor_config.json of a `CLIPModel`.

Theirs keep query, key and value apart, where OpenAI's stack them in `attn.in_proj_*`; and their two projections stand
transposed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from models.clip import Clip
from models.config import Activation, ClipConfig, PreprocessConfig, TextConfig, VisionTransformerConfig
from models.interchange.openai import choose_activation
from models.interchange.sizes import empty_model, fit, require_fit
from models.interchange.tensors import new_folder, read_tensors, save_tensors
from openwit.errors import ConfigError, InputError

CONFIG, PREPROCESS = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first is written
OLD_END_TOKEN = 2  # in old configs: wrong for the vocabulary, and read by transformers as "the highest id"
RESAMPLE: dict[int, Literal["bicubic", "bilinear"]] = {3: "bicubic", 2: "bilinear"}  # Pillow's numbers

TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
SINGLE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
}
LAYERS = {  # each has a weight and a bias
    "visual.ln_pre": "vision_model.pre_layrnorm",  # their spelling
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}
BLOCK_LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
PARTS = ("weight", "bias")


class _Tower(msgspec.Struct):
    """Their fields and defaults; the rest of theirs is about training and text generation."""

    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: float = 1e-5


class _HuggingFaceText(_Tower):
    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    eos_token_id: int = 49407


class _HuggingFaceVision(_Tower):
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32


class _HuggingFaceModel(msgspec.Struct):
    text_config: _HuggingFaceText
    vision_config: _HuggingFaceVision
    model_type: Literal["clip"]
    projection_dim: int = 512


class _HuggingFacePreprocess(msgspec.Struct):
    image_mean: tuple[float, float, float] = PreprocessConfig().mean
    image_std: tuple[float, float, float] = PreprocessConfig().std
    resample: int = 3
    do_center_crop: bool = True


def read_folder(folder: Path, described: dict[str, Any], activation: Activation | None) -> Clip:
    """The model whose config.json holds `described`. Raises InputError where that, or a tensor, does not fit."""
    where = folder / CONFIG
    try:
        found = msgspec.convert(described, _HuggingFaceModel)
        config = _config(found, _read_preprocess(folder))
    except (msgspec.ValidationError, ConfigError) as error:
        raise InputError(f"{where}: describes no CLIP of the paper's kinds ({error})") from None
    choose_activation(where, config.activation, activation)
    weights = next((folder / name for name in WEIGHTS if (folder / name).exists()), folder / WEIGHTS[0])
    theirs = read_tensors(weights)
    require_fit(theirs, to_hugging_face(empty_model(config).state_dict(), config), weights)
    return fit(config, from_hugging_face(theirs, config), weights)


def _config(found: _HuggingFaceModel, preprocess: PreprocessConfig) -> ClipConfig:
    """Raises ConfigError where our networks would not compute what theirs do."""
    text, vision = found.text_config, found.vision_config
    for tower in (text, vision):
        if tower.intermediate_size != 4 * tower.hidden_size:
            raise ConfigError(f"intermediate_size={tower.intermediate_size}, expected four times the hidden_size")
        if tower.layer_norm_eps != 1e-5:
            raise ConfigError(f"layer_norm_eps={tower.layer_norm_eps}, expected 1e-05")
        if tower.hidden_act != vision.hidden_act:
            raise ConfigError(f"hidden_act {text.hidden_act} for text, {vision.hidden_act} for images; expected one")
    if text.eos_token_id not in (OLD_END_TOKEN, text.vocab_size - 1):
        raise ConfigError(f"eos_token_id={text.eos_token_id}, expected the last of {text.vocab_size} tokens")
    return ClipConfig(
        embed_dim=found.projection_dim,
        activation=vision.hidden_act,
        vision=VisionTransformerConfig(
            image_px=vision.image_size, patch_px=vision.patch_size, width=vision.hidden_size,
            layers=vision.num_hidden_layers, heads=vision.num_attention_heads,
        ),
        text=TextConfig(
            context_length=text.max_position_embeddings, vocabulary_size=text.vocab_size, width=text.hidden_size,
            layers=text.num_hidden_layers, heads=text.num_attention_heads,
        ),
        preprocess=preprocess,
    )  # fmt: skip


def _read_preprocess(folder: Path) -> PreprocessConfig:
    """Of preprocessor_config.json; without one, OpenAI's, as transformers takes it."""
    path = folder / PREPROCESS
    if not path.exists():
        return PreprocessConfig()
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_HuggingFacePreprocess)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
    if found.resample not in RESAMPLE:
        raise InputError(f"{path}: resample={found.resample}; expected 3 (bicubic) or 2 (bilinear)")
    return PreprocessConfig(
        mean=found.image_mean,
        std=found.image_std,
        interpolation=RESAMPLE[found.resample],
        resize_mode="shortest" if found.do_center_crop else "squash",
    )


def write_folder(model: Clip, folder: Path) -> None:
    """Publishes the model. Raises ConfigError where it is no vision transformer with a text transformer."""
    described = _describe(model.config)
    tensors = to_hugging_face(model.state_dict(), model.config)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with new_folder(folder) as made:
        save_tensors(tensors, made / WEIGHTS[0], metadata={"format": "pt"})  # transformers asks for the format
        (made / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
        (made / PREPROCESS).write_text(json.dumps(_describe_preprocess(model.config), indent=2) + "\n")


def _describe(config: ClipConfig) -> dict[str, object]:
    vision, text = config.vision, config.text
    if not isinstance(vision, VisionTransformerConfig):
        raise ConfigError("--to huggingface: its CLIPModel has no ResNets; write --to open_clip or --to openai")
    if text.kind != "transformer":
        raise ConfigError(f"--to huggingface: it has no text tower of kind {text.kind}; write --to openwit")
    shared = {"hidden_act": config.activation, "layer_norm_eps": 1e-5, "projection_dim": config.embed_dim}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": {
            **shared,
            "model_type": "clip_text_model",
            "vocab_size": text.vocabulary_size,
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length,
            "bos_token_id": text.vocabulary_size - 2,
            "eos_token_id": text.vocabulary_size - 1,
        },
        "vision_config": {
            **shared,
            "model_type": "clip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": 4 * vision.width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_px,
            "patch_size": vision.patch_px,
        },
    }


def _describe_preprocess(config: ClipConfig) -> dict[str, object]:
    side, square = config.vision.image_px, {"height": config.vision.image_px, "width": config.vision.image_px}
    crop = config.preprocess.resize_mode == "shortest"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if crop else square,
        "resample": next(number for number, name in RESAMPLE.items() if name == config.preprocess.interpolation),
        "do_center_crop": crop,
        "crop_size": square,
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": config.preprocess.mean,
        "image_std": config.preprocess.std,
    }


def to_hugging_face(ours: Mapping[str, Tensor], config: ClipConfig) -> dict[str, Tensor]:
    """The tensors under their names; shares memory with `ours`."""
    theirs = {other: ours[name] for name, other in _same(config)}
    theirs |= {other: ours[name].T for name, other in TRANSPOSED.items()}
    for block, other in _blocks(config):
        for part in PARTS:
            stacked = ours[f"{block}.attn.in_proj_{part}"].chunk(3)
            theirs |= {f"{other}.self_attn.{k}_proj.{part}": piece for k, piece in zip("qkv", stacked, strict=True)}
    return theirs


def from_hugging_face(theirs: Mapping[str, Tensor], config: ClipConfig) -> dict[str, Tensor]:
    """The tensors under OpenAI's names; `theirs` holds all of them in the right shapes."""
    ours = {name: theirs[other] for name, other in _same(config)}
    ours |= {name: theirs[other].T for name, other in TRANSPOSED.items()}
    for block, other in _blocks(config):
        for part in PARTS:
            ours[f"{block}.attn.in_proj_{part}"] = torch.cat(
                [theirs[f"{other}.self_attn.{k}_proj.{part}"] for k in "qkv"]
            )
    return ours


def _same(config: ClipConfig) -> Iterator[tuple[str, str]]:
    """(OpenAI's name, theirs) of every tensor that differs in nothing but its name."""
    yield from SINGLE.items()
    layers = [*LAYERS.items()]
    layers += [(f"{a}.{x}", f"{b}.{y}") for a, b in _blocks(config) for x, y in BLOCK_LAYERS.items()]
    yield from ((f"{a}.{part}", f"{b}.{part}") for a, b in layers for part in PARTS)


def _blocks(config: ClipConfig) -> Iterator[tuple[str, str]]:
    assert isinstance(config.vision, VisionTransformerConfig)
    for i in range(config.vision.layers):
        yield f"visual.transformer.resblocks.{i}", f"vision_model.encoder.layers.{i}"
    for i in range(config.text.layers):
        yield f"transformer.resblocks.{i}", f"text_model.encoder.layers.{i}"
