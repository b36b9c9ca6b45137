from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import CalibrateConfig, OverlapConfig
from datagen.duplicates.overlap.calibrate import calibrate
from datagen.duplicates.overlap.check import check_overlap
from datagen.duplicates.overlap.thresholds import Calibration, read_calibration
from helpers.crawled import Fetched, InThisProcess, jpeg, png, scene, write_eval_set, write_shards
from helpers.descriptors import write_descriptor
from openwit.errors import ConfigError
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run

WANTED = CalibrateConfig(images=80, copies=20, prevalence=0.3)


def calibrated(work: Path, config: OverlapConfig, wanted: CalibrateConfig = WANTED) -> Calibration:
    with Run(str(work), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess()) as run:
        return calibrate(run, config, wanted)


def plant(folder: Path) -> OverlapConfig:
    """Two shards of 60 images, of which three are copies of the set's that hashes or bytes tell."""
    known = [png(scene(0)), jpeg(scene(1), 60), jpeg(scene(2), 60)]
    images = known + [jpeg(scene(1000 + n)) for n in range(117)]
    samples = [Fetched(f"http://host.test/{n}.jpg", data) for n, data in enumerate(images)]
    write_shards(folder / "shards", [samples[:60], samples[60:]])
    eval_set = write_eval_set(folder / "e.parquet", {f"k{seed}": png(scene(seed)) for seed in range(30)})
    return OverlapConfig(eval_sets=(f"things={eval_set}",), device="cpu")


def test_copies_that_another_stage_knows_are_no_false_alarms(tmp_path: Path) -> None:
    config = replace(plant(tmp_path), detector=write_descriptor(tmp_path / "coarse.pt"))
    found = calibrated(tmp_path, config, replace(WANTED, images=120))
    (own,) = found.sets
    numbers = {name: (stage.num_copies, stage.num_others, stage.num_known) for name, stage in own.stages.items()}
    assert numbers == {"phash": (20, 117, 3), "detector": (20, 117, 3)}
    assert max(entry.score for entry in own.nearest if entry.stage == "detector") < 0.9
    assert len(own.nearest) == 40


def test_the_check_uses_the_thresholds_that_were_found(tmp_path: Path) -> None:
    config = replace(plant(tmp_path), detector=write_descriptor(tmp_path / "coarse.pt"))
    found = calibrated(tmp_path, config)
    assert read_calibration(str(tmp_path / "duplicates")) == found
    stages = found.sets[0].stages
    assert stages["detector"].attained
    with Run(str(tmp_path), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess()) as run:
        report = check_overlap(run, config)
    thresholds = report.sets[0].thresholds
    assert thresholds["min_score"] == stages["detector"].threshold
    assert thresholds["max_distance256"] == stages["phash"].threshold
    assert report.sets[0].overlapping == 3


def test_images_are_drawn_by_the_seed(tmp_path: Path) -> None:
    config = plant(tmp_path)
    samples = []
    for seed in (0, 0, 1):
        calibrated(tmp_path, config, replace(WANTED, images=40, seed=seed))
        files = sorted((tmp_path / "duplicates" / "calibration" / "others").glob("*.parquet"))
        samples.append([key for file in files for key in pq.read_table(file)["key"].to_pylist()])
    assert samples[0] == samples[1] != samples[2]
    assert 20 <= len(samples[0]) <= 60


def test_without_a_detector_the_hash_alone_is_calibrated(tmp_path: Path) -> None:
    found = calibrated(tmp_path, plant(tmp_path))
    assert set(found.sets[0].stages) == {"phash"}
    assert found.detector == ""


def test_a_second_calibration_does_no_stage_again(tmp_path: Path) -> None:
    config = plant(tmp_path)
    first = calibrated(tmp_path, config)
    files = list((tmp_path / "duplicates" / "calibration").rglob("*.parquet"))
    times = [file.stat().st_mtime_ns for file in files]
    assert calibrated(tmp_path, config, replace(WANTED, precision=0.9)).sets[0].stages != first.sets[0].stages
    assert [file.stat().st_mtime_ns for file in files] == times


def test_no_set_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="eval_sets is empty"):
        calibrated(tmp_path, OverlapConfig())
