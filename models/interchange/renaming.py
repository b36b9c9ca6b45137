"""Hugging Face's names for the tensors of a ViT CLIP, both ways.

Theirs keep query, key and value apart, where OpenAI's stack them in `attn.in_proj_*`; and their two projections stand
transposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from models.config import ClipConfig, VisionTransformerConfig

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
