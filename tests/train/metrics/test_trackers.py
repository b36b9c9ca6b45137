from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from helpers.training import job
from openwit.errors import ConfigError
from train.metrics.trackers import open_trackers, require_packages, scalars


def read_back(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: (step, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(e.step, e.value) for e in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_tensorboard_shows_every_step_once_though_the_run_was_killed_in_between(tmp_path: Path) -> None:
    made = job(tmp_path / "data", tmp_path)
    with open_trackers(made, 0) as (tracker,):
        for step in (1, 2, 3, 4):
            tracker.write(step, {"loss": step + 0.5, "skipped/image": 1.0})
    with open_trackers(made, 2) as (tracker,):
        for step in (3, 4, 5):
            tracker.write(step, {"loss": step + 0.25})
    shown = read_back(tmp_path / "tensorboard")
    assert shown["loss"] == [(1, 1.5), (2, 2.5), (3, 3.25), (4, 4.25), (5, 5.25)]
    assert shown["skipped/image"] == [(1, 1.0), (2, 1.0)]


def test_without_trackers_nothing_is_written(tmp_path: Path) -> None:
    with open_trackers(job(tmp_path / "data", tmp_path, tensorboard="false"), 0) as trackers:
        assert trackers == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_a_run_without_a_network_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    made = job(tmp_path / "data", tmp_path, tensorboard="false", wandb_project="openwit-test")
    names = []
    for start in (0, 2):
        with open_trackers(made, start) as (tracker,):
            names.append(tracker._run.id)  # type: ignore[attr-defined]
            tracker.write(start + 1, {"loss": 1.25 + start})
            tracker.write(start + 2, {"loss": 0.25 + start})
    assert names[0] == names[1] == (tmp_path / "wandb-run.txt").read_text()
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    assert b"1.25" in first.read_bytes()
    assert b"3.25" in second.read_bytes()
    assert b"openwit-test" in first.read_bytes()


@pytest.mark.parametrize(
    ("package", "changes", "advice"),
    [
        ("tensorboard", {}, r"pip install tensorboard, or write --pretrain\.tensorboard false"),
        ("wandb", {"wandb_project": "mine"}, r"pip install wandb, or write --pretrain\.wandb_project"),
    ],
)
def test_a_missing_package_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, changes: dict[str, Any], advice: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(ConfigError, match=advice):
        require_packages(job(tmp_path, tmp_path, **changes).config)
    require_packages(job(tmp_path, tmp_path, tensorboard="false").config)


def test_a_records_numbers_are_flat_and_its_step_texts_and_lists_are_left_out() -> None:
    record = {
        "step": 3, "loss": 1.5, "spikes": 2, "batch": "00ff", "damaged": ["x"], "skipped": {"image": 4},
        "eval": {"digits": {"accuracy": 0.5, "converged": True}},
    }  # fmt: skip
    assert scalars(record) == {
        "loss": 1.5, "spikes": 2.0, "skipped/image": 4.0, "eval/digits/accuracy": 0.5, "eval/digits/converged": 1.0,
    }  # fmt: skip
