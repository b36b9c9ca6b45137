"""The demo's network and recipe, trained for twenty steps: each loss is the one that it was, bit for bit.

Where a change is meant to move them:  OPENWIT_RENEW_GOLDEN=1 pytest tests/train/test_golden.py
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.shards import rewritten, write_shards
from helpers.training import alone, curve, train_here
from pipelines import recipes
from train.job import Job

GOLDEN = Path(__file__).parent / "golden" / "demo.json"


def machine() -> dict[str, str]:
    """What rounding depends on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    capability = torch.backends.cpu.get_cpu_capability()
    return {"processor": models[0] if models else "", "capability": capability, "torch": torch.__version__}


def png(seed: int) -> bytes:
    """An image of random tiles: the same pixels whichever library writes it or reads it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def demo_losses(tmp_path: Path) -> list[float]:
    """Of the first twenty steps on made shards, one rank with one thread."""
    write_shards(tmp_path / "shards", [66, 60, 54])
    for number, tar in enumerate(sorted((tmp_path / "shards").glob("*.tar"))):
        with rewritten(tar) as members:
            before = dict(members)
            members.clear()  # a sample's members stand together
            for place, (name, content) in enumerate(before.items()):
                is_image = name.endswith(".jpg")
                members[name.replace(".jpg", ".png")] = png(1000 * number + place) if is_image else content
    config = dataclasses.replace(
        recipes.create("demo", str(tmp_path)).pretrain, data=(str(tmp_path / "shards"),), batch_pairs=48,
        duration="20 steps", warmup_steps=4, ranks=1, log_every=1, save_every=1000, eval_every=0,
    )  # fmt: skip
    with alone():
        train_here(Job(data=config.data, exclusions="", out=str(tmp_path / "out"), config=config))
    return [float(str(record["loss"])) for record in curve(tmp_path / "out")]


def test_the_demos_losses_are_the_golden_ones(tmp_path: Path) -> None:
    losses = demo_losses(tmp_path)
    assert len(losses) == 20
    if "OPENWIT_RENEW_GOLDEN" in os.environ:
        GOLDEN.write_text(json.dumps({"made_on": machine(), "losses": losses}, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    if golden["made_on"] == machine():
        assert losses == golden["losses"]
        return
    warnings.warn(f"compared within 1e-4, as the golden losses were made on {golden['made_on']}", stacklevel=1)
    assert losses == pytest.approx(golden["losses"], abs=1e-4)
