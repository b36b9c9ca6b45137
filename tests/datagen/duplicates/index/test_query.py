from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datagen.duplicates.fingerprints import Fingerprints, decode_small, pixels_sha256, thumbnail
from datagen.duplicates.index.query import EvalIndex, Finder
from helpers.crawled import altered, jpeg, png, scene
from helpers.descriptors import write_descriptor
from helpers.eval_index import finder, index_files, limits


def prints_of(*images: bytes) -> Fingerprints:
    return Fingerprints.of([thumbnail(decode_small(data)) for data in images])


def nearest(index: Finder, *images: bytes) -> list[tuple[int, int]]:
    """(query, row) within the thresholds."""
    found = index.near_by_hash(prints_of(*images))[0].items()
    ok = limits()
    return [
        pair for pair, by_hash in found
        if by_hash.distance256 <= ok.max_distance256 and by_hash.color_distance <= ok.max_color_distance
    ]  # fmt: skip


def test_a_cropped_copy_is_nearer_by_a_view_than_to_the_whole(tmp_path: Path) -> None:
    images = {f"k{seed}": png(scene(seed)) for seed in range(12)}
    copies = [jpeg(altered(scene(seed), crop=0.04), 70) for seed in range(12)]
    with_views, whole = finder(tmp_path / "a", images), finder(tmp_path / "b", images, crop=0.0)
    assert nearest(with_views, *copies) == [(seed, seed) for seed in range(12)]
    views, one = (f.near_by_hash(prints_of(*copies))[0] for f in (with_views, whole))
    assert all(views[pair].distance256 <= one[pair].distance256 for pair in one)
    assert sum(by_hash.distance256 for by_hash in views.values()) < 0.7 * sum(h.distance256 for h in one.values())


def test_flat_images_are_not_compared_by_hash(tmp_path: Path) -> None:
    white, gray = (png(np.full((64, 64, 3), level, np.uint8)) for level in (255, 250))
    index = finder(tmp_path, {"white": white, "one": png(scene(1))})
    assert nearest(index, white, gray) == []
    assert nearest(index, png(scene(1))) == [(0, 1)]


def test_another_colour_is_another_image(tmp_path: Path) -> None:
    image = scene(1) // 2 + 60
    index = finder(tmp_path, {"one": png(image)})
    tinted = np.clip(image.astype(int) + np.array([-50, 0, 50]), 0, 255).astype(np.uint8)
    assert nearest(index, png(image)) == [(0, 0)]
    assert nearest(index, png(tinted)) == []
    assert index.near_by_hash(prints_of(png(tinted)))[0][0, 0].color_distance > 15


def test_digests_find_every_row_that_has_them_and_no_other(tmp_path: Path) -> None:
    images = {"a": png(scene(1)), "b": jpeg(scene(2)), "again": png(scene(1))}
    index = EvalIndex(index_files(tmp_path, {"things": images}))
    sha256 = index.rows["sha256"][0].as_py()
    assert sorted(index.same("sha256", sha256)) == [0, 2]
    assert index.same("pixels", pixels_sha256(jpeg(scene(2)))) == [1]
    assert index.same("sha256", sha256[:16] + "0" * 48) == []  # only the part that is searched agrees
    assert index.same("sha256", "f" * 64) == []


def test_the_detector_finds_by_each_sets_own_threshold(tmp_path: Path) -> None:
    detector = write_descriptor(tmp_path / "coarse.pt")
    sets = {name: {"k": png(scene(1)), "other": png(scene(2))} for name in ("lax", "strict")}
    index = EvalIndex(index_files(tmp_path / "i", sets, detector=detector))
    vectors = np.array(index.arrays["vectors"])
    query = 0.8 * vectors[:1] + 0.6 * _orthogonal(vectors[0])
    both = Finder(index, [limits("lax", score=0.7), limits("strict", score=0.9)])
    assert both.near_by_vector(query) == {(0, 0): pytest.approx(0.8, abs=1e-3)}  # type: ignore[arg-type]
    assert both.near_by_vector(vectors[:0]) == {}
    assert index.scores(query, [2])[0] == pytest.approx(0.8, abs=1e-3)  # type: ignore[arg-type]


def test_vectors_of_an_empty_batch_and_of_no_near_hash_give_nothing(tmp_path: Path) -> None:
    index = finder(tmp_path, {"one": png(scene(1))})
    assert index.near_by_hash(prints_of()) == ({}, 0)
    assert index.near_by_hash(prints_of(png(scene(50))))[0] == {}


def _orthogonal(vector: np.ndarray) -> np.ndarray:
    other = np.random.default_rng(0).normal(size=vector.shape).astype(np.float32)
    other -= (other @ vector) * vector
    return (other / np.linalg.norm(other)).astype(np.float32)[None]
