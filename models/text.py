"""The text towers: a causal transformer pooled at the end token (paper, section 2.4), and CBOW (figure 3).

Shapes: B batch · L tokens of a text · N tokens of all texts · W width · E shared embedding.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import Activation, TextConfig
from models.transformer import Transformer


class TextTokenizer(Protocol):
    """Texts to token ids [B, context_length]; `Tokenizer` is one."""

    def encode(self, texts: list[str]) -> Tensor: ...


class TextTower(nn.Module):
    """Holds a text tower's tensors under OpenAI's names; `embed_text` runs it.

    The transformer is causal, so nothing after the end token can reach its result, and `layout` only chooses the work:
    "packed" runs the texts' own tokens and nothing else; "truncated" cuts the batch at its longest text; "padded" runs
    all that it is given, in shapes that do not depend on the texts (for compilers and exporters).

    Token ids may stay on the CPU where the weights are on a GPU: then nobody waits for the GPU to learn their lengths.
    """

    def __init__(self, config: TextConfig, embed_dim: int, activation: Activation = "quick_gelu") -> None:
        super().__init__()
        self.kind = config.kind
        self.context_length = config.context_length
        self.layout: Literal["packed", "truncated", "padded"] = "packed"
        self.token_embedding = nn.Embedding(config.vocabulary_size, config.width)
        if config.kind == "transformer":
            self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
            self.transformer = Transformer(config.width, config.layers, config.heads, activation)
        self.ln_final = nn.LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        self._initialise(config)

    def _initialise(self, config: TextConfig) -> None:
        """The released code's scheme: the variance that 2L residual branches add up to does not grow with L."""
        attention_std = config.width**-0.5
        residual_std = attention_std * (2 * config.layers) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        if config.kind == "transformer":
            nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=config.width**-0.5)
        if config.kind == "cbow":
            return
        for name, parameter in self.transformer.named_parameters():
            if name.endswith("attn.in_proj_weight"):
                nn.init.normal_(parameter, std=attention_std)
            elif name.endswith(("attn.out_proj.weight", "mlp.c_proj.weight")):
                nn.init.normal_(parameter, std=residual_std)
            elif name.endswith("mlp.c_fc.weight"):
                nn.init.normal_(parameter, std=(2 * config.width) ** -0.5)

    def embed_text(self, tokens_BL: Tensor) -> Tensor:
        """Embeddings [B, embed_dim], not normalised, of token ids [B, L] as the tokenizer gives them; by the weights,
        wherever the ids are."""
        if tokens_BL.ndim != 2 or tokens_BL.shape[1] > self.context_length:
            shape = tuple(tokens_BL.shape)
            raise ValueError(f"tokens of shape {shape}: this tower takes [batch, <= {self.context_length}]")
        end_B = tokens_BL.argmax(dim=-1)  # the end token is the highest id of the vocabulary
        if self.kind == "cbow":
            pooled_BW = self._bag(self._near(tokens_BL), self._near(end_B))
        elif self.layout == "packed":
            pooled_BW = self._run_packed(tokens_BL, end_B)
        else:
            longest = int(end_B.max()) + 1 if self.layout == "truncated" else tokens_BL.shape[1]
            pooled_BW = self._run_padded(self._near(tokens_BL[:, :longest]), self._near(end_B))
        embedded_BE: Tensor = self.ln_final(pooled_BW) @ self.text_projection
        return embedded_BE

    def _run_packed(self, tokens_BL: Tensor, end_B: Tensor) -> Tensor:
        """[B, W] at the end tokens. Texts stand in the order of their lengths, so that those of one length are a block
        that attention takes without padding, copies or masks. Which row is whose is found where the ids are."""
        device = tokens_BL.device
        order_B = end_B.argsort(stable=True)
        length_B = end_B[order_B] + 1
        column_L = torch.arange(tokens_BL.shape[1], device=device)
        present_BL = column_L < length_B[:, None]
        ids_N = tokens_BL[order_B][present_BL]
        position_N = column_L.expand_as(present_BL)[present_BL]
        blocks = [(num, length) for length, num in Counter(length_B.tolist()).items()]
        behind_B = length_B.cumsum(0)
        bounds = F.pad(behind_B, (1, 0)).int()
        end_row_B = torch.empty_like(length_B)
        end_row_B[order_B] = behind_B - 1
        x_NW = self.token_embedding(self._near(ids_N)) + F.embedding(self._near(position_N), self.positional_embedding)
        x_NW = self.transformer(x_NW, blocks, causal=True, bounds=self._near(bounds))
        out_BW: Tensor = x_NW.index_select(0, self._near(end_row_B))
        return out_BW

    def _near(self, numbers: Tensor) -> Tensor:
        """The same where the weights are."""
        device = self.token_embedding.weight.device
        if device.type == "cuda" and numbers.device.type == "cpu":
            return numbers.pin_memory().to(device, non_blocking=True)  # from other memory it may wait for the GPU
        return numbers.to(device)

    def _run_padded(self, tokens_BL: Tensor, end_B: Tensor) -> Tensor:
        """[B, W] at the end tokens; every column is run."""
        B, L = tokens_BL.shape
        x_BLW = self.token_embedding(tokens_BL) + self.positional_embedding[:L]
        x_NW = self.transformer(x_BLW.flatten(0, 1), [(B, L)], causal=True)
        out_BW: Tensor = x_NW.index_select(0, torch.arange(B, device=end_B.device) * L + end_B)
        return out_BW

    def _bag(self, tokens_BL: Tensor, end_B: Tensor) -> Tensor:
        """[B, W]: the mean embedding of the tokens from the start to the end token, in any order."""
        present_BL = torch.arange(tokens_BL.shape[1], device=end_B.device) <= end_B[:, None]
        weight_BL = present_BL / (end_B + 1)[:, None]
        return torch.einsum(
            "bl,blw->bw", weight_BL.to(self.token_embedding.weight.dtype), self.token_embedding(tokens_BL)
        )
