"""The forms in which models travel; light to import (no torch), for the command line's help."""

from __future__ import annotations

from typing import Literal, get_args

from models.config import Activation

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
