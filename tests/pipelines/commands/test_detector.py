from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from helpers.detector import photo, write_photos
from helpers.patience import patience
from helpers.places import ROOT
from models.detector.descriptor import load_descriptor
from models.detector.detector import Detector
from models.preprocess import normalize_pixels
from openwit import storage
from pipelines.commands.detector import export
from train.checkpoints.checkpoints import load_state, load_weights
from train.checkpoints.layout import latest
from train.config import DetectorTrainingConfig

SMALL = {
    "model.image_px": "32", "model.embed_dim": "16", "model.resnet.blocks": "1,1", "model.resnet.width": "4",
    "stream.resize_px": "40", "stream.num_lanes": "4", "stream.shuffle_window": "8",
    "batch_pairs": "8", "duration": "4 steps", "warmup_steps": "1", "ranks": "1",
}  # fmt: skip


def train_detector(work: Path, *more: str) -> subprocess.CompletedProcess[str]:
    fields = [word for name, value in SMALL.items() for word in (f"--detector.{name}", value)]
    command = [sys.executable, "-m", "pipelines", "train-detector", "demo", "--work", str(work), *fields, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience(200), cwd=ROOT, env=environment, check=False
    )


def test_it_trains_on_the_shards_exports_the_last_weights_and_is_done_the_second_time(tmp_path: Path) -> None:
    refused = train_detector(tmp_path)
    assert refused.returncode == 2
    assert f"run openwit build-dataset demo --work {tmp_path} first" in refused.stderr
    write_photos(tmp_path / "shards", [9, 9])
    planned = train_detector(tmp_path, "--dry-run")
    assert "train-detector: 4 steps in batches of 8 pairs from" in planned.stderr
    assert not (tmp_path / "detector").exists()

    done = train_detector(tmp_path)
    assert done.returncode == 0, done.stderr
    descriptor = load_descriptor(str(tmp_path / "detector" / "model"))
    checkpoint = latest(str(tmp_path / "detector" / "checkpoints"))
    model = Detector(load_state(checkpoint).config.model).eval()  # type: ignore[arg-type]
    load_weights(checkpoint, model)  # type: ignore[arg-type]
    pixels = torch.from_numpy(np.stack([descriptor.prepare(photo(n)) for n in range(3)]))
    torch.testing.assert_close(descriptor.embed(pixels), model.embed(normalize_pixels(pixels)), atol=1e-6, rtol=1e-5)
    assert {path.name for path in (tmp_path / "detector" / "model").iterdir()} == {"model.safetensors", "config.json"}

    again = train_detector(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "train-detector: 4/4 steps done before" in again.stderr
    assert load_descriptor(str(tmp_path / "detector" / "model")).digest == descriptor.digest
    other = train_detector(tmp_path, "--detector.seed", "5")
    assert other.returncode == 2
    assert "write --detector.seed 0 to go on with them" in other.stderr


def test_the_model_of_a_run_on_an_object_store_is_exported_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    export(str(tmp_path), DetectorTrainingConfig(), "memory://exported/detector")
    assert storage.read_bytes("memory://exported/detector/model/model.safetensors") == b"weights"
    assert storage.read_json("memory://exported/detector/model/config.json")["detector"]["embed_dim"] > 0
