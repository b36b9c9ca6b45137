"""Logistic regression on frozen image features (paper, section 3.2 and appendix A.3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from torch import Tensor

from train.evals.encoders import ImageTextEncoder, batches, evaluation_mode

Features = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

MAX_ITERATIONS = 1000
# The paper sweeps 96 log-spaced strengths from 1e-6 to 1e6, eight a decade: seven first, two decades apart, then
# the interval around the best is halved until neighbours are an eighth of a decade apart.
COARSE_STEP_DECADES = 2.0
FINEST_STEP_DECADES = 0.125
LOWEST_DECADE, HIGHEST_DECADE = -6.0, 6.0
# Below this many numbers a fit's thousands of small products wait for threads longer than they compute.
ONE_THREAD_ELEMENTS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What the probe found; accuracies are shares in [0, 1]."""

    accuracy: float  # on the test images
    validation_accuracy: float  # at the chosen strength, before the validation images joined the training
    l2_strength: float  # the inverse of scikit-learn's C
    converged: bool  # whether the last fit ended before its iterations did


@dataclass(frozen=True)
class Digits:
    """scikit-learn's handwritten digits: uint8 images [N, 8, 8], bright ink on black, and labels 0 to 9."""

    train_images: npt.NDArray[np.uint8]
    train_labels: Labels
    test_images: npt.NDArray[np.uint8]
    test_labels: Labels


def digits() -> Digits:
    """All 1,797 digits in a fixed split, three quarters for training, classes shared out evenly."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    return Digits(train_images=split[0], test_images=split[1], train_labels=split[2], test_labels=split[3])


def image_features(model: ImageTextEncoder, images: Iterable[Tensor], batch_images: int) -> Tensor:
    """Features before the projection, float64 [N, width] on the CPU, of preprocessed images [3, S, S]."""
    with evaluation_mode(model):
        rows = [model.image_features(batch).double().cpu() for batch in batches(images, batch_images, model.device)]
    return torch.cat(rows) if rows else torch.empty(0)


def linear_probe(train_x: Features, train_y: Labels, test_x: Features, test_y: Labels, seed: int = 0) -> ProbeResult:
    """Accuracy on the test rows of an L-BFGS logistic regression whose L2 strength was chosen on a fifth of the
    training rows, drawn by `seed`; the last fit takes all training rows. Features are used as they come.

    Raises ValueError where there are fewer than two classes or a class has fewer than two training rows.
    """
    classes, counts = np.unique(train_y, return_counts=True)
    smallest = counts.min(initial=len(train_y))
    if len(classes) < 2 or smallest < 2:
        raise ValueError(f"linear probe: {len(classes)} classes, the smallest of {smallest} rows; needs two of each")
    num_validation = max(len(train_y) // 5, len(classes))
    fit_x, held_x, fit_y, held_y = train_test_split(
        train_x, train_y, test_size=num_validation, random_state=seed, stratify=train_y
    )
    with threadpool_limits(1 if train_x.size < ONE_THREAD_ELEMENTS else None):
        decade, validation_accuracy = _best_decade(fit_x, fit_y, held_x, held_y)
        model, converged = _fit(train_x, train_y, decade)
    return ProbeResult(
        accuracy=float(model.score(test_x, test_y)),
        validation_accuracy=validation_accuracy,
        l2_strength=10.0**decade,
        converged=converged,
    )


def _best_decade(fit_x: Features, fit_y: Labels, held_x: Features, held_y: Labels) -> tuple[float, float]:
    """log10 of the strength with the best validation accuracy, and that; of equals the strongest."""
    accuracy: dict[float, float] = {}

    def look_at(decades: Iterable[float]) -> float:
        for decade in decades:
            if decade not in accuracy and LOWEST_DECADE <= decade <= HIGHEST_DECADE:
                accuracy[decade] = float(_fit(fit_x, fit_y, decade)[0].score(held_x, held_y))
        return max(accuracy, key=lambda decade: (accuracy[decade], decade))

    step = COARSE_STEP_DECADES
    best = look_at(np.arange(LOWEST_DECADE, HIGHEST_DECADE + step, step).tolist())
    while step > FINEST_STEP_DECADES:
        step /= 2
        best = look_at([best - step, best + step])
    return best, accuracy[best]


def _fit(x: Features, y: Labels, decade: float) -> tuple[LogisticRegression, bool]:
    model = LogisticRegression(C=10.0**-decade, solver="lbfgs", max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():  # the weakest strengths of a sweep may run out of iterations, as in the paper
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    return model, bool(model.n_iter_.max() < MAX_ITERATIONS)
