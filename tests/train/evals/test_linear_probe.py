# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from train.evals.linear_probe import digits, image_features, linear_probe


def blobs(n: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes around the corners of a triangle."""
    random = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 3
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
    return corners[labels] + spread * random.standard_normal((n, 2)), labels


def test_classes_that_stand_apart_are_told_apart() -> None:
    result = linear_probe(*blobs(90, 0.3, 0), *blobs(60, 0.3, 1))
    assert (result.accuracy, result.validation_accuracy) == (1.0, 1.0)


def test_of_strengths_that_tell_classes_apart_equally_well_the_strongest_is_chosen() -> None:
    result = linear_probe(*blobs(90, 0.3, 0), *blobs(60, 0.3, 1))
    assert result.validation_accuracy == 1.0
    assert result.l2_strength > 1e4  # the weakest would be 1e-6


def test_the_strength_is_chosen_to_hold_on_unseen_rows() -> None:
    # Two numbers that tell the class roughly, and fifty of noise: a weak penalty learns the noise by heart.
    random = np.random.default_rng(0)
    train_x, train_y = blobs(90, 2.0, 0)
    test_x, test_y = blobs(900, 2.0, 1)
    noisy_train, noisy_test = (np.hstack([x, random.standard_normal((len(x), 50))]) for x in (train_x, test_x))
    result = linear_probe(noisy_train, train_y, noisy_test, test_y)
    assert result.l2_strength >= 1
    assert result.accuracy > 0.6
    assert result.converged


def test_the_strength_lies_on_the_papers_grid_and_repeats_with_the_seed() -> None:
    train, test = blobs(60, 2.0, 0), blobs(60, 2.0, 1)
    first, second = (linear_probe(*train, *test, seed=3) for _ in range(2))
    assert first == second
    eighths = np.log10(first.l2_strength) * 8
    assert eighths == pytest.approx(round(eighths), abs=1e-9)
    assert 1e-6 <= first.l2_strength <= 1e6


def test_too_few_rows_or_classes_are_refused() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="1 classes"):
        linear_probe(x, np.array([1, 1, 1]), x, np.array([1, 1, 1]))
    with pytest.raises(ValueError, match="smallest of 1 rows"):
        linear_probe(x, np.array([0, 0, 1]), x, np.array([0, 0, 1]))


def test_the_digits_are_all_there_split_the_same_way_each_time() -> None:
    found, again = digits(), digits()
    assert (len(found.train_images), len(found.test_images)) == (1347, 450)
    assert np.array_equal(found.test_images, again.test_images)
    assert (found.train_images.dtype, found.train_images.shape[1:]) == (np.uint8, (8, 8))
    assert (found.train_images.min(), found.train_images.max()) == (0, 255)
    source = load_digits()
    every = sorted(image.tobytes() for image in (*found.train_images, *found.test_images))
    assert every == sorted(np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in source.images)
    for label in range(10):
        assert 43 <= (found.test_labels == label).sum() <= 47


def test_digits_pixels_alone_are_told_apart() -> None:
    found = digits()
    train, test = (x[::3].reshape(-1, 64) / 255 for x in (found.train_images, found.test_images))
    result = linear_probe(train, found.train_labels[::3], test, found.test_labels[::3])
    assert result.accuracy > 0.9


def test_features_come_in_the_order_of_the_images() -> None:
    class Mean(torch.nn.Module):
        device = torch.device("cpu")

        def image_features(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3))

    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 2, 2)
    features = image_features(Mean(), iter(images), batch_images=2)  # type: ignore[arg-type]
    assert features.tolist() == [[float(i)] * 3 for i in range(5)]
