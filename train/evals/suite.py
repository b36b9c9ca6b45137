"""All evaluations that a recipe asks for, on one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from PIL import Image
from torch import Tensor

from train.evals.config import EvaluateConfig, LinearProbeConfig
from train.evals.dataset import load_eval_set
from train.evals.encoders import ImageTextEncoder, TextTokenizer
from train.evals.linear_probe import ProbeResult, digits, image_features, linear_probe
from train.evals.zero_shot import zero_shot

Scores = dict[str, dict[str, float]]


def evaluate(
    model: ImageTextEncoder,
    tokenizer: TextTokenizer,
    preprocess: Callable[[Image.Image], Tensor],
    config: EvaluateConfig,
) -> Scores:
    """`zero_shot` and `digits`, as far as they are asked for, each with its numbers by name; `preprocess` makes what
    the model takes of a picture. Raises InputError where an evaluation set cannot be read."""
    scores: Scores = {}
    if config.zero_shot_set:
        chosen = load_eval_set(config.zero_shot_set)
        pictures = chosen.tensors(preprocess)
        scores["zero_shot"] = zero_shot(model, tokenizer, pictures, chosen.labels, chosen.names, config.zero_shot)
    if config.digits:
        scores["digits"] = asdict(probe_digits(model, preprocess, config.linear_probe))
    return scores


def probe_digits(
    model: ImageTextEncoder, preprocess: Callable[[Image.Image], Tensor], config: LinearProbeConfig
) -> ProbeResult:
    """The linear probe on scikit-learn's handwritten digits, enlarged to the model's input."""
    pictures = digits()
    train_x, test_x = (
        image_features(model, (preprocess(Image.fromarray(pixels)) for pixels in images), config.batch_images)
        for images in (pictures.train_images, pictures.test_images)
    )
    return linear_probe(train_x, pictures.train_labels, test_x, pictures.test_labels, config.seed)
