"""CLIP: two towers into one space, compared by cosine and a learned scale (paper, section 2.3 and figure 3)."""

from __future__ import annotations

import dataclasses
import math

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ClipConfig, ResNetConfig
from models.preprocess import preprocess
from models.resnet import ModifiedResNet
from models.text import TextTower
from models.vit import VisionTransformer

MAX_LOGIT_SCALE = 100.0  # "clipped to prevent scaling the logits by more than 100" (section 2.5)


class Clip(TextTower):
    """Both towers and the logit scale; weights are drawn from torch's global generator.

    It is its text tower with an image tower at `visual`, since OpenAI's state dicts name the text tensors without a
    prefix and names here must be theirs.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config.text, config.embed_dim, config.activation)
        self.config = config
        self.visual: VisionTransformer | ModifiedResNet
        if isinstance(config.vision, ResNetConfig):
            self.visual = ModifiedResNet(config.vision, config.embed_dim)
        else:
            self.visual = VisionTransformer(config.vision, config.embed_dim, config.activation)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # stored as its logarithm (section 2.5)

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def preprocess(self, image: Image.Image) -> Tensor:
        """float32 [3, image_px, image_px] for the image tower from an image in any mode and size."""
        return preprocess(image, self.config.vision.image_px, self.config.preprocess)

    def encode_image(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        """Unit vectors [B, embed_dim] of normalised images [B, 3, image_px, image_px]; with `kept`, of these patches
        alone, int64 [B, K] (a Vision Transformer's)."""
        seen = (image,) if kept is None else (image, kept)
        return F.normalize(self.visual(*seen), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors [B, embed_dim] of token ids [B, up to context_length]."""
        return F.normalize(self.embed_text(tokens), dim=-1)

    def image_features(self, image: Tensor) -> Tensor:
        """The image tower's output before the projection, [B, feature width], for linear probes (section 3.2)."""
        return self.visual.pooled(image)

    def forward(self, image: Tensor, tokens: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Image unit vectors [B, D], text unit vectors [B, D] and the scale (not its logarithm), a scalar."""
        return self.encode_image(image, kept), self.encode_text(tokens), self.logit_scale.exp()

    @torch.no_grad()
    def clamp_logit_scale(self, max_scale: float = MAX_LOGIT_SCALE) -> None:
        """Holds the learned scale at `max_scale` or below; training calls it after each step."""
        self.logit_scale.clamp_(max=math.log(max_scale))

    def set_checkpointing(self, enabled: bool) -> None:
        """Whether the backward pass computes each block of both towers again instead of keeping its inside: less
        memory, about a third more work, the same gradients."""
        self.visual.set_checkpointing(enabled)
        if self.kind == "transformer":
            self.transformer.checkpointing = enabled

    def set_compiling(self, enabled: bool) -> None:
        """Whether training's arithmetic is torch.compile's: of the blocks of both towers, where nearly all of it is."""
        self.visual.set_compiling(enabled)
        if self.kind == "transformer":
            self.transformer.compiling = enabled

    def resize_image(self, image_px: int) -> None:
        """From now on takes images of another side, in pixels; learned positions are interpolated. Raises ConfigError
        where the side does not fit the tower."""
        self.visual.resize_positions(image_px)
        self.config = dataclasses.replace(self.config, vision=self.visual.config)
