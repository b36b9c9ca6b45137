"""The text tower: a causal transformer pooled at the end token (paper, section 2.4).

Shapes: B batch · L tokens of a text · W width · E shared embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.config import TextConfig
from models.transformer import Transformer


class TextTransformer(nn.Module):
    """Holds the text tower's tensors under OpenAI's names; `embed_text` runs it."""

    def __init__(self, config: TextConfig, embed_dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.transformer = Transformer(config.width, config.layers, config.heads)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        self._initialise(config)

    def _initialise(self, config: TextConfig) -> None:
        """The released code's scheme: the variance that 2L residual branches add up to does not grow with L."""
        attention_std = config.width**-0.5
        residual_std = attention_std * (2 * config.layers) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=config.width**-0.5)
        for name, parameter in self.transformer.named_parameters():
            if name.endswith("attn.in_proj_weight"):
                nn.init.normal_(parameter, std=attention_std)
            elif name.endswith(("attn.out_proj.weight", "mlp.c_proj.weight")):
                nn.init.normal_(parameter, std=residual_std)
            elif name.endswith("mlp.c_fc.weight"):
                nn.init.normal_(parameter, std=(2 * config.width) ** -0.5)

    def embed_text(self, tokens_BL: Tensor) -> Tensor:
        """Embeddings [B, embed_dim], not normalised, of token ids [B, L] as the tokenizer gives them.

        The tower is causal, so nothing after the end token can reach the result: columns past the batch's longest text
        are cut before the work starts.
        """
        context_length = len(self.positional_embedding)
        if tokens_BL.ndim != 2 or tokens_BL.shape[1] > context_length:
            raise ValueError(f"tokens of shape {tuple(tokens_BL.shape)}: this tower takes [batch, <= {context_length}]")
        end_B = tokens_BL.argmax(dim=-1)  # the end token is the highest id of the vocabulary
        longest = int(end_B.max()) + 1
        x_BLW = self.token_embedding(tokens_BL[:, :longest]) + self.positional_embedding[:longest]
        x_BLW = self.transformer(x_BLW, causal=True)
        rows_B = torch.arange(len(tokens_BL), device=tokens_BL.device)
        pooled_BW: Tensor = self.ln_final(x_BLW[rows_B, end_B])
        return pooled_BW @ self.text_projection
