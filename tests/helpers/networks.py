"""CLIPs of a few thousand weights for tests, and the peers' networks of the same sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from models.config import ClipConfig, ResNetConfig, TextConfig, VisionTransformerConfig, config_of

VOCABULARY = 60


def narrow(name: str) -> ClipConfig:
    """The model's kind, depth of ResNet, patch and embedding, with few channels and places."""
    whole = config_of(name)
    vision = whole.vision
    if isinstance(vision, ResNetConfig):
        small = dataclasses.replace(vision, width=vision.width // 8, heads=vision.heads // 8, image_px=64)
        text = TextConfig(vocabulary_size=VOCABULARY, width=32, layers=2, heads=4)
        return ClipConfig(embed_dim=whole.embed_dim, vision=small, text=text)
    side = 4 if vision.image_px == 336 else 3
    small_vit = VisionTransformerConfig(
        image_px=side * vision.patch_px, patch_px=vision.patch_px, width=48, layers=3, heads=vision.heads // 4
    )
    return ClipConfig(
        embed_dim=whole.embed_dim,
        vision=small_vit,
        text=TextConfig(vocabulary_size=VOCABULARY, width=32, layers=2, heads=4),
    )


def shaken(network: nn.Module) -> nn.Module:
    """The network with no weight at a special value, so that every one matters: a batch norm's gain of 0 would hide
    the branch before it. The gains that end branches stay small, else a random ResNet blows up every rounding."""
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.startswith("visual.layer") and name.endswith("bn3.weight"):
                tensor.copy_(0.02 + 0.02 * torch.rand(tensor.shape, generator=random))
            elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
            elif tensor.ndim == 1:
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=random))
    return network


def settle_statistics(network: nn.Module, image: Tensor) -> None:
    """Gives batch norms the statistics of these images, so that evaluation is as well conditioned as training."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(image)
    for norm in norms:
        norm.momentum = 0.1


def texts(lengths: list[int], vocabulary_size: int = VOCABULARY, context_length: int = 77) -> Tensor:
    """Token ids [B, context_length] of so many tokens each, start and end included, as the tokenizer lays them out."""
    random = torch.Generator().manual_seed(len(lengths))
    tokens = torch.zeros(len(lengths), context_length, dtype=torch.int64)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.randint(1, vocabulary_size - 2, (length,), generator=random)
        row[0], row[length - 1] = vocabulary_size - 2, vocabulary_size - 1
    return tokens


def images(config: ClipConfig, num: int) -> Tensor:
    """Normal noise [B, 3, S, S]."""
    px = config.vision.image_px
    return torch.randn(num, 3, px, px, generator=torch.Generator().manual_seed(1))


def open_clip_network(config: ClipConfig) -> Any:
    """open_clip's network of these sizes, weights random."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision, text = config.vision, config.text
    if isinstance(vision, ResNetConfig):
        head_width = 64 if vision.width >= 64 else 32 * vision.width // vision.heads
        theirs = CLIPVisionCfg(
            layers=vision.layers, width=vision.width, head_width=head_width, image_size=vision.image_px
        )
    else:
        theirs = CLIPVisionCfg(
            layers=vision.layers, width=vision.width, head_width=vision.width // vision.heads,
            patch_size=vision.patch_px, image_size=vision.image_px,
        )  # fmt: skip
    return CLIP(
        config.embed_dim,
        theirs,
        CLIPTextCfg(
            context_length=text.context_length, vocab_size=text.vocabulary_size, width=text.width, heads=text.heads,
            layers=text.layers,
        ),
        quick_gelu=config.activation == "quick_gelu",
    )  # fmt: skip


def transformers_network(config: ClipConfig, weights: dict[str, Tensor]) -> Any:
    """transformers' CLIPModel of a vision transformer's sizes, with these weights of ours."""
    from transformers import CLIPConfig, CLIPModel

    vision, text = config.vision, config.text
    assert isinstance(vision, VisionTransformerConfig)
    towers = {
        "vision_config": {
            "hidden_size": vision.width, "intermediate_size": 4 * vision.width, "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads, "image_size": vision.image_px, "patch_size": vision.patch_px,
        },
        "text_config": {
            "hidden_size": text.width, "intermediate_size": 4 * text.width, "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads, "vocab_size": text.vocabulary_size,
            "max_position_embeddings": text.context_length, "eos_token_id": text.vocabulary_size - 1,
            "bos_token_id": text.vocabulary_size - 2, "pad_token_id": 0,
        },
    }  # fmt: skip
    for tower in towers.values():
        tower["hidden_act"] = config.activation  # type: ignore[assignment]
    model = CLIPModel(CLIPConfig(**towers, projection_dim=config.embed_dim))  # type: ignore[arg-type]
    model.load_state_dict(in_transformers_names(weights), strict=True)
    return model


def in_transformers_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors named as ours under the names, and in the shapes, of transformers' CLIPModel."""
    whole = {
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.proj": "visual_projection.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "text_projection": "text_projection.weight",
        "logit_scale": "logit_scale",
    }
    parts = {
        "visual.transformer.resblocks": "vision_model.encoder.layers", "transformer.resblocks":
        "text_model.encoder.layers", "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm", "ln_final": "text_model.final_layer_norm",
        ".ln_1.": ".layer_norm1.", ".ln_2.": ".layer_norm2.", ".attn.": ".self_attn.", "c_fc": "fc1", "c_proj": "fc2",
    }  # fmt: skip
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name in whole:
            renamed[whole[name]] = tensor.T if name.endswith("proj") or name == "text_projection" else tensor
            continue
        for ours, theirs in parts.items():
            name = name.replace(ours, theirs)
        if "in_proj_" in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace("in_proj_", f"{letter}_proj.")] = part
        else:
            renamed[name] = tensor
    return renamed
