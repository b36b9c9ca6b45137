from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.duplicates.config import CalibrateConfig
from datagen.duplicates.overlap.thresholds import (
    Calibration,
    SetCalibration,
    StageCalibration,
    choose,
    false_alarms,
    precision,
    read_calibration,
)


def calibration(*, judged: bool = True, detector: str = "d") -> Calibration:
    stage = StageCalibration(
        threshold=0.8, attained=True, judged=judged, precision=0.99, least_precision=0.9, recall=0.7, false_alarms=1e-4,
        num_copies=10, num_others=100, num_known=0, edges=[0.0, 1.0], copies=[10], others=[100],
    )  # fmt: skip
    own = SetCalibration(name="things", sha256="abc", stages={"detector": stage}, nearest=[])
    return Calibration(config=CalibrateConfig(), detector=detector, shards="s", assumed="a", sets=[own])


def test_precision_is_the_share_of_copies_among_the_matched() -> None:
    # of a million images 10,000 are copies: 8,000 are found, with 99 of the 990,000 others
    assert precision(0.8, 1e-4, 0.01) == pytest.approx(8000 / 8099)
    assert precision(0.0, 0.0, 0.01) == 0
    assert precision(0.5, 0.0, 0.01) == 1


def test_false_alarms_are_those_seen_where_many_are_seen_and_an_exponential_tail_where_few_are() -> None:
    others = np.random.default_rng(0).exponential(0.05, 20_000) + 0.1
    scores = np.array([0.15, 0.2, 0.4, 0.6, 0.7])
    found = false_alarms(others, scores)
    truth = np.exp(-(scores - 0.1) / 0.05)
    assert found[:2] == pytest.approx([(others >= 0.15).mean(), (others >= 0.2).mean()])
    assert np.abs(np.log(found[2:] / truth[2:])).max() < 0.7
    assert found[-1] > 0


def test_few_others_leave_room_for_one_more() -> None:
    assert false_alarms(np.full(20, 0.3), np.array([0.2, 0.9])).tolist() == [1.0, pytest.approx(1 / 21)]
    assert false_alarms(np.array([]), np.array([0.5])).tolist() == [1.0]


def test_the_threshold_is_the_laxest_with_the_wanted_precision() -> None:
    random = np.random.default_rng(1)
    others = np.clip(random.normal(0.2, 0.08, 30_000), -1, 1)
    copies = random.uniform(0.4, 1.0, 2000)
    config = CalibrateConfig(precision=0.99, prevalence=0.01)
    found = choose("detector", copies, others, 7, config)
    assert found.attained
    assert found.precision >= 0.99
    assert 0.4 < found.threshold < 0.7
    assert found.recall == pytest.approx((copies >= found.threshold).mean(), abs=1e-4)
    assert found.num_known == 7
    laxer = found.threshold - 0.001
    f = false_alarms(others, np.array([laxer]))
    assert precision((copies >= laxer).mean(), f, 0.01)[0] < 0.99
    assert sum(found.copies) == 2000
    assert sum(found.others) == 30_000
    assert found.least_precision <= found.precision


def test_new_others_of_the_same_kind_keep_the_promise() -> None:
    config = CalibrateConfig(precision=0.99, prevalence=0.05)
    copies = np.random.default_rng(2).uniform(0.3, 1.0, 1000)
    precisions = []
    for seed in range(20):
        random = np.random.default_rng(100 + seed)
        found = choose("detector", copies, np.clip(random.normal(0.2, 0.08, 2000), -1, 1), 0, config)
        alarms = float((random.normal(0.2, 0.08, 400_000) >= found.threshold).mean())
        precisions.append(float(precision(found.recall, alarms, 0.05)))
    assert np.median(precisions) >= 0.99
    assert min(precisions) >= 0.97


def test_a_rarer_copy_needs_a_stricter_threshold() -> None:
    random = np.random.default_rng(3)
    others, copies = np.clip(random.normal(0.2, 0.1, 5000), -1, 1), random.uniform(0.3, 1.0, 500)
    found = [choose("detector", copies, others, 0, CalibrateConfig(prevalence=p)).threshold for p in (0.5, 0.05, 0.005)]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_the_hashs_threshold_is_a_distance_and_has_an_end() -> None:
    random = np.random.default_rng(4)
    others, copies = random.normal(0.55, 0.01, 5000), random.uniform(0.8, 1.0, 500)
    assert choose("phash", copies, others, 0, CalibrateConfig()).threshold == 0.25
    near = choose("phash", copies, np.clip(random.normal(0.55, 0.08, 5000), 0, 1), 0, CalibrateConfig())
    assert 0 < near.threshold < 0.25


def test_where_no_threshold_has_the_precision_the_stage_is_all_but_off() -> None:
    same = np.random.default_rng(5).uniform(0.2, 1.0, 1000)
    for stage, strictest in (("detector", 1.0), ("phash", 0.0)):
        found = choose(stage, same, same, 0, CalibrateConfig())
        assert (found.attained, found.judged, found.threshold) == (False, True, strictest)
        assert found.precision < 0.99
        assert "so this is the strictest" in found.caveat


def test_by_too_few_images_nothing_is_judged() -> None:
    found = choose("detector", np.full(50, 0.9), np.linspace(0.1, 0.3, 49), 0, CalibrateConfig())
    assert not found.judged
    assert "at least 50 other images" in found.caveat
    assert calibration(judged=False).thresholds("d", {"things": "abc"}) == {"things": {}}


@given(st.integers(0, 1000), st.integers(1, 400), st.integers(0, 400))
@settings(max_examples=30, deadline=None)
def test_any_sample_gives_a_threshold_in_range(seed: int, num_copies: int, num_others: int) -> None:
    random = np.random.default_rng(seed)
    copies, others = random.uniform(-1, 1, num_copies), random.uniform(-1, 1, num_others)
    found = choose("detector", copies, others, 0, CalibrateConfig())
    assert 0.2 <= found.threshold <= 1.0
    assert 0 <= found.least_precision <= 1
    assert found.attained == (found.precision >= 0.99)


@pytest.mark.parametrize(("detector", "sha256"), [("other", "abc"), ("d", "changed")])
def test_thresholds_of_another_detector_or_content_are_not_used(detector: str, sha256: str) -> None:
    assert calibration().thresholds("d", {"things": "abc"}) == {"things": {"detector": 0.8}}
    assert calibration().thresholds(detector, {"things": sha256}) == {}


def test_a_file_of_another_version_is_none(tmp_path: Path) -> None:
    assert read_calibration(str(tmp_path)) is None
    (tmp_path / "calibration.json").write_bytes(msgspec.json.encode(calibration()))
    assert read_calibration(str(tmp_path)) == calibration()
    (tmp_path / "calibration.json").write_text('{"version": 0}')
    assert read_calibration(str(tmp_path)) is None
