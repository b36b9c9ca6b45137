"""One training that nothing disturbs, made once for all tests that compare a disturbed one with it."""

from __future__ import annotations

import fcntl
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.shards import write_shards
from helpers.training import curve, job, newest
from openwit.log.events import Log
from train.checkpoints.checkpoints import load_model
from train.job import Job
from train.launch.torchrun import launch

NUM_STEPS = 60


@dataclass(frozen=True)
class Undisturbed:
    """A finished training of two ranks with one thread each."""

    data: Path
    out: Path

    def job(self, out: object, **changes: object) -> Job:
        """The same training with its results at `out`, with some fields changed."""
        return job(self.data, out, **{"duration": f"{NUM_STEPS} steps", **changes})

    def assert_same(self, records: list[dict[str, Any]], checkpoints: str) -> None:
        """That the other's metrics (see helpers.training.curve) and weights are these, bit for bit."""
        expected = curve(self.out)
        assert len(expected) == NUM_STEPS
        assert records == expected
        found = load_model(newest(checkpoints)).state_dict()
        true = load_model(newest(str(self.out / "checkpoints"))).state_dict()
        assert found.keys() == true.keys()
        assert [name for name, value in true.items() if not torch.equal(found[name], value)] == []


def undisturbed(folders: pytest.TempPathFactory) -> Undisturbed:
    """The test run's own; whichever of its processes comes first makes it, the others wait."""
    root = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made = Undisturbed(root / "undisturbed" / "data", root / "undisturbed" / "out")
    with (root / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made.out / "done").exists():
            write_shards(made.data, [30, 34])
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OMP_NUM_THREADS", "1")
                launch(made.job(made.out), Log(stream=io.StringIO()))
            (made.out / "done").touch()
    return made
