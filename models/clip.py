"""CLIP: two towers into one space, compared by cosine and a learned scale (paper, section 2.3 and figure 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ClipConfig
from models.text import TextTransformer
from models.vit import VisionTransformer


class Clip(TextTransformer):
    """Both towers and the logit scale; weights are drawn from torch's global generator.

    It is its text tower with an image tower at `visual`, since OpenAI's state dicts name the text tensors without a
    prefix and names here must be theirs.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__(config.text, config.embed_dim)
        self.config = config
        self.visual = VisionTransformer(config.vision, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # stored as its logarithm (section 2.5)

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def encode_image(self, image: Tensor) -> Tensor:
        """Unit vectors [B, embed_dim] of normalised pictures [B, 3, image_px, image_px]."""
        return F.normalize(self.visual(image), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit vectors [B, embed_dim] of token ids [B, up to context_length]."""
        return F.normalize(self.embed_text(tokens), dim=-1)

    def image_features(self, image: Tensor) -> Tensor:
        """The image tower's output before the projection, [B, vision width], for linear probes (section 3.2)."""
        return self.visual.pooled(image)

    def forward(self, image: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image unit vectors [B, D], text unit vectors [B, D] and the scale (not its logarithm), a scalar."""
        return self.encode_image(image), self.encode_text(tokens), self.logit_scale.exp()
