# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.duplicates.fingerprints import Fingerprints, decode_small, thumbnail
from datagen.duplicates.index.query import ByHash, Finder
from datagen.duplicates.overlap.cascade import Evidence, Match, decide, same_images, same_pixels
from helpers.crawled import altered, jpeg, png, scene
from helpers.eval_index import finder, limits

NEAR = ByHash(0.1, 0.08, 3.0)


@pytest.mark.parametrize(
    ("evidence", "judged"),
    [
        (Evidence(same_bytes=True, same_pixels=True, by_hash=NEAR, detector=0.9), ("sha256", 1.0, 0.0)),
        (Evidence(same_pixels=True, by_hash=NEAR, detector=0.9), ("pixels", 1.0, 0.0)),
        (Evidence(by_hash=NEAR, detector=0.9), ("phash", 0.92, 0.0)),
        (Evidence(by_hash=NEAR), ("phash", 0.92, 0.0)),
        (Evidence(by_hash=replace(NEAR, color_distance=15.1), detector=0.9), ("detector", 0.9, 0.0)),
        (Evidence(by_hash=replace(NEAR, distance256=0.13), detector=0.76), ("detector", 0.76, 0.0)),
        (Evidence(detector=0.75), ("detector", 0.75, 0.0)),
        (Evidence(detector=0.69), None),
        (Evidence(by_hash=replace(NEAR, color_distance=15.1), detector=0.1), None),
        (Evidence(by_hash=replace(NEAR, distance256=0.18)), None),
        (Evidence(), None),
    ],
)
def test_the_surest_stage_decides(evidence: Evidence, judged: tuple[str, float, float] | None) -> None:
    assert evidence.judge(limits()) == judged


def test_a_near_miss_is_told_with_how_far_it_is() -> None:
    assert Evidence(by_hash=replace(NEAR, distance256=0.145)).judge(limits()) == ("phash", 0.855, pytest.approx(0.5))
    both = Evidence(by_hash=replace(NEAR, distance256=0.16), detector=0.74).judge(limits())
    assert both == ("detector", 0.74, pytest.approx(0.2))


def matches(index: Finder, *images: bytes) -> list[Match]:
    prints = Fingerprints.of([thumbnail(decode_small(data)) for data in images])
    hashed, _ = index.near_by_hash(prints)
    digests = [{hashlib.sha256(data).hexdigest(), ""} for data in images]
    exact = same_images(index, digests), same_pixels(index, images, prints, hashed)
    return list(decide(index, exact, hashed, {}, None))


def test_each_kind_of_copy_has_its_reason(tmp_path: Path) -> None:
    index = finder(tmp_path, {f"k{seed}": png(scene(seed)) for seed in range(4)})
    webp = cv2.imencode(".webp", scene(1), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    found = matches(index, png(scene(0)), webp, jpeg(altered(scene(2)), 70), png(scene(30)))
    assert [(m.query, m.row, m.reason) for m in found if not m.gap] == [
        (0, 0, "sha256"), (1, 1, "pixels"), (2, 2, "phash"),
    ]  # fmt: skip
    assert found[0].by_hash == ByHash(0.0, 0.0, 0.0)


def test_flat_images_match_by_their_bytes_and_pixels(tmp_path: Path) -> None:
    white, gray = (np.full((64, 64, 3), level, np.uint8) for level in (255, 250))
    index = finder(tmp_path, {"white": png(white)})
    bmp = cv2.imencode(".bmp", white)[1].tobytes()
    found = [(m.query, m.reason, m.by_hash) for m in matches(index, png(white), bmp, png(gray))]
    assert found == [(0, "sha256", None), (1, "pixels", None)]
