from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest
import torch

from helpers.launching import launched, ranks_of, steps_done, train_until
from helpers.processes import descendants, wait_until
from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import curve, job
from openwit.errors import WorkError
from openwit.log.events import Log
from train.checkpoints.checkpoints import load_model
from train.checkpoints.layout import latest, steps
from train.launch import preemption
from train.launch.torchrun import launch

NUM_STEPS = 90


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [30, 34])
    return folder


def to_launcher(process):
    """As Kubernetes signals: the first process."""
    process.send_signal(signal.SIGTERM)


def to_one_rank(process):
    ranks_of(process.pid)[-1].send_signal(signal.SIGTERM)


def to_all(process):
    """As SLURM signals: each process of the job."""
    for other in descendants(process.pid):
        other.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts a training five times
def test_at_sigterm_the_step_is_saved_and_the_same_command_goes_on_bit_for_bit(data, tmp_path):
    changes = {"duration": f"{NUM_STEPS} steps", "save_every": 1000}
    whole, stopped = (job(data, tmp_path / name, **changes) for name in ("whole", "stopped"))
    launch(whole, Log(stream=io.StringIO()))
    for goal, send in ((5, to_launcher), (30, to_one_rank), (55, to_all)):
        process, output = launched(stopped, tmp_path)
        wait_until(lambda goal=goal: steps_done(stopped) >= goal, 180)
        send(process)
        assert process.wait(60) == 143, output.read_text()
        saved = steps(stopped.checkpoints)[-1]
        line = f"error: pretrain: stopped at step {saved} by SIGTERM; the same command goes on"
        assert output.read_text().splitlines()[-1] == line
        assert goal <= saved == steps_done(stopped)
    process, output = launched(stopped, tmp_path)
    assert process.wait(120) == 0, output.read_text()
    assert curve(tmp_path / "stopped") == curve(tmp_path / "whole")
    one, other = (load_model(latest(made.checkpoints)).state_dict() for made in (whole, stopped))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_when_one_rank_is_asked_all_stop_at_the_same_step(data, tmp_path):
    asked = job(data, tmp_path, duration="5000 steps", save_every=5000)
    messages = run_ranks(train_until, 2, asked, 3, join_group=False)
    saved = steps(asked.checkpoints)
    assert len(saved) == 1
    assert 3 <= saved[0] < 5000
    assert messages == [f"pretrain: stopped at step {saved[0]} by SIGTERM; the same command goes on"] * 2


def test_a_launcher_forwards_sigterm_once_and_gives_the_handler_back(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    count = [sys.executable, "-c", "import os, sys; sys.exit(len(sys.stdin.read()))"]
    with subprocess.Popen(count, stdin=subprocess.PIPE) as process:
        with preemption.SignalForwarder(process) as forwarder:
            forwarder.require_patience()
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
            forwarder.require_patience()
            monkeypatch.setattr(preemption, "SAVE_S", -1.0)
            with pytest.raises(WorkError, match="goes on from the last one"):
                forwarder.require_patience()
        process.stdin.close()
        assert process.wait(60) == 1
    assert signal.getsignal(signal.SIGTERM) is before
