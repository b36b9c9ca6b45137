"""Caption prediction: a decoder that looks at the image says the caption token by token, as in VirTex (paper,
section 2.3, figure 2).

Shapes: B batch · S image side in pixels · P places of the feature map · F feature width · L tokens of a text · N tokens
to predict in all texts · W decoder width · V vocabulary · H heads · C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.objectives.towers import CaptionConfig, ImageTower, at_least_float32, check_names, ends, freeze
from models.transformer import Attention, Mlp


class CrossAttention(nn.Module):
    """Each token looks at all places of its image: [B, L, W] and [B, P, W] -> [B, L, W]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.kv_proj = nn.Linear(width, 2 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BLW: Tensor, map_BPW: Tensor) -> Tensor:
        q_BHL = self.q_proj(x_BLW).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k_BHP, v_BHP = self.kv_proj(map_BPW).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BHL = F.scaled_dot_product_attention(q_BHL, k_BHP, v_BHP)
        out: Tensor = self.out_proj(mixed_BHL.transpose(1, 2).flatten(2))
        return out


class DecoderBlock(nn.Module):
    """Causal attention, attention to the image, MLP, each pre-norm and added to its input; [B, L, W] -> [B, L, W]."""

    def __init__(self, config: CaptionConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = Attention(config.width, config.heads)
        self.ln_2 = nn.LayerNorm(config.width)
        self.cross = CrossAttention(config.width, config.heads)
        self.ln_3 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.activation)

    def forward(self, x_BLW: Tensor, map_BPW: Tensor) -> Tensor:
        B, L, _ = x_BLW.shape
        rows_NW = self.ln_1(x_BLW).flatten(0, 1)
        x_BLW = x_BLW + self.attn(rows_NW, [(B, L)], causal=True).view_as(x_BLW)
        x_BLW = x_BLW + self.cross(self.ln_2(x_BLW), map_BPW)
        out: Tensor = x_BLW + self.mlp(self.ln_3(x_BLW))
        return out


class CaptionPredictor(nn.Module):
    """A transformer decoder on the image tower's feature map; tokens go in and come out by one embedding.

    It takes the tower over: what it does not use of it is frozen.
    """

    def __init__(self, visual: ImageTower, config: CaptionConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = visual
        freeze(visual, ("proj", "ln_post", "attnpool"))
        self.ln_image = nn.LayerNorm(visual.config.feature_width)
        self.from_image = nn.Linear(visual.config.feature_width, config.width)
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.ln_final = nn.LayerNorm(config.width)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        self._initialise()

    def _initialise(self) -> None:
        """The text tower's scheme, with three residual branches a block where it has two."""
        width = self.config.width
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith(("in_proj_weight", "q_proj.weight", "kv_proj.weight")):
                nn.init.normal_(parameter, std=width**-0.5)
            elif name.endswith(("out_proj.weight", "c_proj.weight")):
                nn.init.normal_(parameter, std=(3 * self.config.layers * width) ** -0.5)
            elif name.endswith("c_fc.weight"):
                nn.init.normal_(parameter, std=(2 * width) ** -0.5)

    def image_map(self, image: Tensor) -> Tensor:
        """What the decoder looks at, [B, P, W], of normalised images [B, 3, S, S]."""
        map_BPW: Tensor = self.from_image(self.ln_image(self.visual.feature_map(image)))
        return map_BPW

    def decode(self, map_BPW: Tensor, tokens_BL: Tensor) -> Tensor:
        """Hidden states [B, L, W]: what is known of the next token behind each token, from it and those before."""
        x_BLW = self.token_embedding(tokens_BL) + self.positional_embedding[: tokens_BL.shape[1]]
        for block in self.blocks:
            x_BLW = block(x_BLW, map_BPW)
        out: Tensor = self.ln_final(x_BLW)
        return out

    def to_logits(self, x_NW: Tensor) -> Tensor:
        """Logits [N, V] of the next token."""
        return F.linear(x_NW, self.token_embedding.weight, self.bias)

    def loss(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Cross-entropy in nats a token of the captions' ids [B, L], each predicted from the images [B, 3, S, S] and
        the true tokens before it: all behind the start token, the end token included, padding not."""
        return -self._log_likelihoods(self.image_map(image), tokens)[0].mean()

    @torch.no_grad()
    def class_scores(self, image: Tensor, names: Tensor) -> Tensor:
        """[B, C]: the log-likelihood of each class name, ids [C, L], as the caption of each image, its end token
        included. Raises ValueError where a name has no token."""
        check_names(names)
        map_BPW = self.image_map(image)
        scores = []
        for tokens_L in names:
            log_N, num_tokens = self._log_likelihoods(map_BPW, tokens_L.expand(len(image), -1))
            scores.append(log_N.view(len(image), num_tokens).sum(dim=1))
        return torch.stack(scores, dim=1)

    def _log_likelihoods(self, map_BPW: Tensor, tokens_BL: Tensor) -> tuple[Tensor, int]:
        """Of every token behind the start token up to the end token, [N], text by text; and how many the longest text
        has."""
        longest = int(ends(tokens_BL).max())
        x_BLW = self.decode(map_BPW, tokens_BL[:, :longest])
        wanted_BL = torch.arange(longest, device=tokens_BL.device) < ends(tokens_BL)[:, None]
        logits_NV = at_least_float32(self.to_logits(x_BLW[wanted_BL]))  # only of what counts: V is large
        log_N = -F.cross_entropy(logits_NV, tokens_BL[:, 1 : longest + 1][wanted_BL], reduction="none")
        return log_N, longest
