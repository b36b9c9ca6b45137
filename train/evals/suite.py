"""All evaluations that a recipe asks for, on one model."""

from __future__ import annotations

from dataclasses import asdict

from PIL import Image

from models.preprocess import preprocess
from train.evals.config import EvaluateConfig, LinearProbeConfig
from train.evals.dataset import load_eval_set
from train.evals.encoders import ImageTextEncoder, TextTokenizer
from train.evals.linear_probe import ProbeResult, digits, image_features, linear_probe
from train.evals.zero_shot import zero_shot

Scores = dict[str, dict[str, float]]


def evaluate(model: ImageTextEncoder, tokenizer: TextTokenizer, image_px: int, config: EvaluateConfig) -> Scores:
    """`zero_shot` and `digits`, as far as they are asked for, each with its numbers by name. Raises InputError where
    an evaluation set cannot be read."""
    scores: Scores = {}
    if config.zero_shot_set:
        chosen = load_eval_set(config.zero_shot_set)
        pictures = chosen.tensors(image_px)
        scores["zero_shot"] = zero_shot(model, tokenizer, pictures, chosen.labels, chosen.names, config.zero_shot)
    if config.digits:
        scores["digits"] = asdict(probe_digits(model, image_px, config.linear_probe))
    return scores


def probe_digits(model: ImageTextEncoder, image_px: int, config: LinearProbeConfig) -> ProbeResult:
    """The linear probe on scikit-learn's handwritten digits, enlarged to the model's input."""
    pictures = digits()
    train_x, test_x = (
        image_features(model, (preprocess(Image.fromarray(pixels), image_px) for pixels in images), config.batch_images)
        for images in (pictures.train_images, pictures.test_images)
    )
    return linear_probe(train_x, pictures.train_labels, test_x, pictures.test_labels, config.seed)
