"""Bag-of-words prediction: which tokens stand in an image's caption, in any order (paper, section 2.3, figure 2).

Shapes: B batch · S image side in pixels · F feature width · L tokens of a text · V vocabulary · C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.objectives.towers import BagOfWordsConfig, ImageTower, at_least_float32, between_marks, check_names, freeze


class BagOfWordsPredictor(nn.Module):
    """One logistic classifier a token on the image tower's pooled features; start and end token are no targets.

    It takes the tower over: what it does not use of it is frozen.
    """

    def __init__(self, visual: ImageTower, config: BagOfWordsConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = visual
        freeze(visual, ("proj", "attnpool.c_proj"))
        self.to_tokens = nn.Linear(visual.config.feature_width, config.vocabulary_size)
        # Of ~50,000 tokens a dozen are in a caption: from even odds, unlearning the others would drown all else.
        nn.init.normal_(self.to_tokens.weight, std=visual.config.feature_width**-0.5 / 10)
        nn.init.constant_(self.to_tokens.bias, -math.log(config.vocabulary_size / config.expected_tokens - 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits [B, V], that each token stands in the caption, of normalised images [B, 3, S, S]."""
        logits_BV: Tensor = self.to_tokens(self.visual.pooled(image))
        return logits_BV

    def loss(self, image: Tensor, tokens: Tensor) -> Tensor:
        """Cross-entropy in nats of an image's V yes-or-no questions, the mean over the images [B, 3, S, S] with
        their captions' ids [B, L]. How often a token stands in a caption does not count."""
        logits_BV = at_least_float32(self(image))
        target_BV = torch.zeros_like(logits_BV)
        row, column = between_marks(tokens).nonzero(as_tuple=True)
        target_BV[row, tokens[row, column]] = 1.0
        return F.binary_cross_entropy_with_logits(logits_BV, target_BV, reduction="sum") / len(tokens)

    @torch.no_grad()
    def class_scores(self, image: Tensor, names: Tensor) -> Tensor:
        """[B, C]: the log-probability that all tokens of a class name, ids [C, L], stand in the image's caption.
        Raises ValueError where a name has none."""
        check_names(names)
        log_BV = F.logsigmoid(at_least_float32(self(image)))
        asked_CV = log_BV.new_zeros(len(names), log_BV.shape[1])
        row, column = between_marks(names).nonzero(as_tuple=True)
        asked_CV[row, names[row, column]] = 1.0
        return log_BV @ asked_CV.T
