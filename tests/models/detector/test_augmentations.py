# mypy: disable-error-code="attr-defined, call-overload, misc"
from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detector import augmentations
from models.detector.augmentations import INTERPOLATIONS, STRENGTHS, TRANSFORMS, augment, copy_of

NAMES = list(TRANSFORMS)


def photo(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """Something smooth with edges, in colour."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(image, (width // 3, height // 2), height // 5, (250, 20, 40), -1)
    return image


def difference(image: np.ndarray, copy: np.ndarray) -> float:
    """Mean over pixels and colours, in levels of 255, once the copy has the image's size again."""
    again = cv2.resize(copy, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    return float(np.abs(again.astype(float) - image.astype(float)).mean())


@given(
    name=st.sampled_from(NAMES),
    strength=st.sampled_from((0.0, *STRENGTHS)),
    seed=st.integers(0, 2**64 - 1),
    size=st.tuples(st.integers(12, 90), st.integers(12, 90)),
)
@settings(max_examples=60)
def test_a_copy_of_any_image_is_an_image_that_its_seed_decides(name: Any, strength: Any, seed: int, size: int) -> None:
    image = photo(*size)
    before = image.copy()
    copy = copy_of(image, name, strength, seed)
    assert copy.dtype == np.uint8
    assert copy.ndim == 3
    assert copy.shape[2] == 3
    assert min(copy.shape[:2]) >= min(12, *size)
    assert np.array_equal(copy, copy_of(image, name, strength, seed))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("aspect", "jpeg")])
def test_strength_0_changes_next_to_nothing_and_more_strength_changes_more(name: Any) -> None:
    image = photo()
    means = [np.mean([difference(image, copy_of(image, name, s, n)) for n in range(12)]) for s in (0, *STRENGTHS)]
    assert means[0] < 1.5
    assert means == sorted(means)
    assert means[-1] > 3


def test_each_transform_that_makes_up_pixels_uses_every_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[int] = set()
    real_resize, real_warp = cv2.resize, cv2.warpAffine

    def resize(image: Any, size: int, interpolation: Any) -> Any:
        used.add(interpolation)
        return real_resize(image, size, interpolation=interpolation)

    def warp(image: Any, matrix: Any, size: int, flags: Any, borderMode: Any) -> Any:
        used.add(flags)
        return real_warp(image, matrix, size, flags=flags, borderMode=borderMode)

    monkeypatch.setattr(augmentations.cv2, "resize", resize)
    monkeypatch.setattr(augmentations.cv2, "warpAffine", warp)
    for name in ("crop", "aspect", "rescale", "rotation"):
        used.clear()
        for seed in range(60):
            copy_of(photo(24, 32), name, 0.5, seed)
        expected = set(INTERPOLATIONS.values())
        assert used == (expected - {cv2.INTER_AREA} if name == "rotation" else expected), name


def test_a_crop_shows_a_part_of_the_image_at_its_size() -> None:
    ramp = np.zeros((90, 120, 3), np.uint8)
    ramp[..., 0] = np.arange(120)[None]
    ramp[..., 1] = np.arange(90)[:, None]
    copy = copy_of(ramp, "crop", 1.0, 5)
    assert copy.shape == ramp.shape
    kept = 1 - augmentations.MAX_CUT
    for channel, length in ((0, 120), (1, 90)):
        span = float(copy[..., channel].max()) - float(copy[..., channel].min())
        assert span == pytest.approx(kept * length, abs=3)


def test_a_stretch_changes_the_shape_and_not_the_area() -> None:
    shapes = {copy_of(photo(100, 100), "aspect", 1.0, seed).shape[:2] for seed in range(20)}
    assert shapes == {(141, 71), (71, 141)}


def test_a_rotation_turns_by_its_angle_and_leaves_no_empty_corner() -> None:
    white = np.full((90, 120, 3), 255, np.uint8)
    assert copy_of(white, "rotation", 1.0, 0).min() == 255
    line = np.zeros((201, 201, 3), np.uint8)
    line[100] = 255
    turned = copy_of(line, "rotation", 1.0, 1)[..., 0]
    rows = [float(np.average(np.arange(201), weights=turned[:, x] + 1e-9)) for x in (60, 140)]
    assert abs(np.degrees(np.arctan2(rows[1] - rows[0], 80))) == pytest.approx(augmentations.MAX_ANGLE, abs=0.5)


def test_compression_loses_more_with_strength_and_keeps_the_size() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    losses = [difference(noisy, copy_of(noisy, "jpeg", strength, 0)) for strength in (0.0, *STRENGTHS)]
    assert losses == sorted(losses)
    assert copy_of(noisy, "jpeg", 1.0, 0).shape == noisy.shape


def test_color_changes_hue_saturation_and_value_and_leaves_grey_images_grey() -> None:
    red = np.full((8, 8, 3), (200, 60, 60), np.uint8)
    made = {tuple(copy_of(red, "color", 1.0, seed)[0, 0].tolist()) for seed in range(40)}
    assert len(made) == 8  # up or down, of each of the three
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert all(len(set(copy_of(grey, "color", 1.0, seed)[0, 0].tolist())) == 1 for seed in range(8))


def test_training_copies_differ_by_seed_and_go_through_every_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for name, transform in TRANSFORMS.items():

        def noted(image: Any, strength: Any, draws: Any, name: Any = name, transform: Any = transform) -> Any:
            seen.add((name, strength < 0.5))
            return transform(image, strength, draws)

        monkeypatch.setitem(TRANSFORMS, name, noted)
    made = {augment(photo(), seed).tobytes() for seed in range(40)}
    assert len(made) > 30
    assert seen == {(name, weak) for name in NAMES for weak in (True, False)}
    assert np.array_equal(augment(photo(), 7), augment(photo(), 7))
