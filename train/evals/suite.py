"""All evaluations that a recipe asks for, on one model.

The recipe's evaluations of a CLIP while it trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from models.clip import Clip
from models.text import TextTokenizer
from models.tokenizer.tokenizer import Tokenizer
from openwit.errors import ConfigError
from train.config import PretrainConfig
from train.evals.config import EvaluateConfig
from train.evals.dataset import EvalSet, load_eval_set
from train.evals.encoders import ALONE, ImageTextEncoder, Team, joined, own_places
from train.evals.linear_probe import Features, digits, image_features, linear_probe
from train.evals.zero_shot import accuracies, classes_above

Scores = dict[str, dict[str, float]]
Preprocess = Callable[[Image.Image], Tensor]  # what the model takes of an image, float32 [3, S, S]


class Suite:
    """Evaluates models; what it tests them on is read once."""

    def __init__(self, config: EvaluateConfig) -> None:
        """Raises InputError where an evaluation set cannot be read."""
        self.config = config
        self.zero_shot_set = load_eval_set(config.zero_shot_set) if config.zero_shot_set else None
        self.digits = digits() if config.digits else None

    def run(
        self, model: ImageTextEncoder, tokenizer: TextTokenizer, preprocess: Preprocess, team: Team = ALONE
    ) -> Scores:
        """`zero_shot` and `digits`, as far as they are asked for, each with its numbers by name. Every process of the
        team asks, encodes its part of the images and is answered the same, which is what one process alone finds.
        Raises InputError for an image that cannot be read."""
        scores: Scores = {}
        if self.zero_shot_set is not None:
            scores["zero_shot"] = self._zero_shot(self.zero_shot_set, model, tokenizer, preprocess, team)
        if self.digits is not None:
            train_x, test_x = (
                self._features(images, model, preprocess, team)
                for images in (self.digits.train_images, self.digits.test_images)
            )
            found = None
            if team.rank == 0:
                labels = self.digits.train_labels, self.digits.test_labels
                found = asdict(linear_probe(train_x, labels[0], test_x, labels[1], self.config.linear_probe.seed))
            first, *_ = team.gather(found)
            assert first is not None
            scores["digits"] = first
        return scores

    def _zero_shot(
        self, chosen: EvalSet, model: ImageTextEncoder, tokenizer: TextTokenizer, preprocess: Preprocess, team: Team
    ) -> dict[str, float]:
        config, num = self.config.zero_shot, len(chosen.labels)
        own = own_places(num, config.batch_images, team)
        images, labels = chosen.tensors(preprocess, own), [chosen.labels[place] for place in own]
        above = classes_above(model, tokenizer, images, labels, chosen.names, config)
        shares = accuracies(joined(above, num, config.batch_images, team), chosen.labels)
        return {**shares, "num_images": float(num), "num_classes": float(len(chosen.names))}

    def _features(
        self, images: npt.NDArray[np.uint8], model: ImageTextEncoder, preprocess: Preprocess, team: Team
    ) -> Features:
        """Of grey images [N, 8, 8], enlarged to the model's input."""
        batch_images = self.config.linear_probe.batch_images
        own = own_places(len(images), batch_images, team)
        rows = image_features(model, (preprocess(Image.fromarray(images[place])) for place in own), batch_images)
        return joined(rows, len(images), batch_images, team).numpy()


class Periodic:
    """Evaluates the model of one training every so many steps; what it tests it on is read once."""

    def __init__(self, config: PretrainConfig, evals: EvaluateConfig | None) -> None:
        """Raises ConfigError where `evals` asks for nothing, InputError where an evaluation set cannot be read."""
        if evals is None or not (evals.zero_shot_set or evals.digits):
            raise ConfigError(
                f"eval_every={config.eval_every}: the section evaluate asks for nothing; write --evaluate.digits true, "
                f"name an --evaluate.zero_shot_set, or write --{config.section}.eval_every 0"
            )
        self.every = config.eval_every
        self._suite = Suite(evals)
        self._tokenizer = Tokenizer.of(config.model.text, config.merges)

    def run(self, model: Clip, team: Team = ALONE) -> Scores:
        """The scores of the weights as they are; every process of the team asks. Nothing of the training changes."""
        return self._suite.run(model, self._tokenizer, model.preprocess, team)
