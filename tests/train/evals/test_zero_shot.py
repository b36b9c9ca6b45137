"""Zero-shot classification by an encoder whose answers can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from models.tokenizer.tokenizer import Tokenizer
from openwit.errors import ConfigError
from train.evals.config import ZeroShotConfig
from train.evals.zero_shot import accuracies, classes_above, classifier_weights, predict

NAMES = ["blue", "green", "red"]
PLAIN = ZeroShotConfig(prompts=("{label}",), batch_images=2)


class WordTokenizer:
    """Marks which of the words blue, green, red, loud stand in a text."""

    def encode(self, texts: list[str]) -> Tensor:
        return torch.tensor([[word in text for word in (*NAMES, "loud")] for text in texts]).long()


class ColourEncoder(nn.Module):
    """An image's embedding is its mean of each channel, in the order of NAMES; a text's are its marked words."""

    device = torch.device("cpu")

    def encode_image(self, image: Tensor) -> Tensor:
        assert not self.training
        return nn.functional.normalize(torch.cat([image.mean((2, 3)), torch.zeros(len(image), 1)], 1), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return nn.functional.normalize(tokens.float(), dim=-1)

    def image_features(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))


def image(blue: float, green: float, red: float) -> Tensor:
    return torch.tensor([blue, green, red], dtype=torch.float32).view(3, 1, 1).expand(3, 4, 4)


def zero_shot(model: Any, tokenizer: Any, images: Any, labels: Any, names: Any, config: Any) -> dict[str, float]:
    return accuracies(classes_above(model, tokenizer, images, labels, names, config), labels)


def test_accuracies_are_those_worked_out_by_hand() -> None:
    images = [image(1, 0, 0), image(0, 1, 0.2), image(0.9, 0, 1), image(1, 0.5, 0.2), image(0, 0, 1)]
    labels = ["blue", "green", "blue", "red", "red"]  # right, right, wrong, wrong, right
    scores = zero_shot(ColourEncoder(), WordTokenizer(), iter(images), labels, NAMES, PLAIN)
    assert scores["top1"] == pytest.approx(3 / 5)
    assert scores["top5"] == 1.0
    assert scores["mean_per_class"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)


def test_top5_counts_the_fifth_best_and_not_the_sixth() -> None:
    class Ordered(ColourEncoder):
        def encode_image(self, image: Tensor) -> Tensor:
            return torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]]).expand(len(image), -1)

        def encode_text(self, tokens: Tensor) -> Tensor:
            return torch.eye(6)[tokens[:, 0]]

    class Letters:
        def encode(self, texts: list[str]) -> Tensor:
            return torch.tensor([["abcdef".index(text)] for text in texts])

    names = list("abcdef")
    for label, top5 in (("e", 1.0), ("f", 0.0)):
        scores = zero_shot(Ordered(), Letters(), [image(0, 0, 0)], [label], names, PLAIN)
        assert (scores["top1"], scores["top5"]) == (0.0, top5)


def test_an_ensemble_is_the_normalised_mean_of_the_prompts_unit_vectors() -> None:
    weights = classifier_weights(ColourEncoder(), WordTokenizer(), NAMES, ("{label}", "a loud {label}"))
    half = math.sqrt(0.5)
    length = math.hypot((1 + half) / 2, half / 2)
    expected = [0.0, (1 + half) / 2 / length, 0.0, half / 2 / length]
    torch.testing.assert_close(weights[1], torch.tensor(expected))


def test_equal_scores_go_to_the_earlier_class() -> None:
    tied = [image(1, 1, 1)] * 3
    scores = zero_shot(ColourEncoder(), WordTokenizer(), tied, NAMES, NAMES, PLAIN)
    assert scores["top1"] == pytest.approx(1 / 3)


def test_results_do_not_depend_on_the_batch_and_the_model_goes_back_to_training() -> None:
    torch.manual_seed(0)
    model = Clip(
        ClipConfig(
            embed_dim=16,
            vision=VisionTransformerConfig(image_px=16, patch_px=8, width=16, layers=1, heads=2),
            text=TextConfig(context_length=16, width=16, layers=1, heads=2),
        )
    )
    images = list(torch.randn(7, 3, 16, 16))
    labels = ["cat", "dog", "cat", "a {brace}", "dog", "cat", "dog"]
    names = sorted(set(labels))
    results = [
        zero_shot(model, Tokenizer(16), images, labels, names, ZeroShotConfig(batch_images=size))
        for size in (1, 3, 100)
    ]
    assert results[0] == results[1] == results[2]
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("num_images", "labels", "message"),
    [
        (2, ["blue"], "more images than the 1 labels"),
        (1, ["blue", "red"], "1 images for 2 labels"),
        (1, ["pink"], "'pink' is none of the 3 class names"),
        (0, [], "0 images"),
    ],
)
def test_images_and_labels_that_do_not_match_are_refused(num_images: int, labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zero_shot(ColourEncoder(), WordTokenizer(), [image(1, 0, 0)] * num_images, labels, NAMES, PLAIN)


def test_a_broken_model_does_not_pass_for_a_right_one() -> None:
    nothing = [torch.full((3, 4, 4), torch.nan)]
    with pytest.raises(ValueError, match="NaN"):
        zero_shot(ColourEncoder(), WordTokenizer(), nothing, ["blue"], NAMES, PLAIN)


@pytest.mark.parametrize("values", [{"prompts": ()}, {"prompts": ("a photo",)}, {"batch_images": 0}])
def test_a_wrong_config_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^zero_shot\."):
        ZeroShotConfig(**values)  # type: ignore[arg-type]


def test_each_image_gets_the_best_class_and_of_equal_ones_the_earlier() -> None:
    weights = classifier_weights(ColourEncoder(), WordTokenizer(), NAMES, ("{label}",))
    images = [image(1, 0, 0), image(0, 0, 1), image(0, 1, 1), image(0.1, 0.9, 0), image(1, 1, 1)]
    found = list(predict(ColourEncoder(), iter(images), weights, PLAIN))
    assert [len(batch) for batch in found] == [2, 2, 1]
    assert torch.cat(found).tolist() == [0, 2, 1, 1, 0]
