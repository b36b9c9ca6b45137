from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.launching import launched, ranks_of, steps_done, train_until
from helpers.patience import patience
from helpers.processes import Process, descendants, wait_until
from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import curve, job
from helpers.undisturbed import Undisturbed
from openwit.errors import WorkError
from train.checkpoints.layout import steps
from train.launch import preemption


def to_launcher(process: Process) -> None:
    """As Kubernetes signals: the first process."""
    process.send_signal(signal.SIGTERM)


def to_one_rank(process: Process) -> None:
    ranks_of(process.pid)[-1].send_signal(signal.SIGTERM)


def to_all(process: Process) -> None:
    """As SLURM signals: each process of the job."""
    for other in descendants(process.pid):
        other.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts a training four times
def test_at_sigterm_the_step_is_saved_and_the_same_command_goes_on_bit_for_bit(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    stopped = undisturbed.job(tmp_path / "stopped", save_every=1000)
    for goal, send in ((5, to_launcher), (20, to_one_rank), (35, to_all)):
        process, output = launched(stopped, tmp_path)
        wait_until(lambda: steps_done(stopped) >= goal, 180)  # noqa: B023 - it is called at once
        send(process)
        assert process.wait(60) == 143, output.read_text()
        saved = steps(stopped.checkpoints)[-1]
        line = f"error: pretrain: stopped at step {saved} by SIGTERM; the same command goes on"
        assert output.read_text().splitlines()[-1] == line
        assert goal <= saved == steps_done(stopped)
    process, output = launched(stopped, tmp_path)
    assert process.wait(120) == 0, output.read_text()
    undisturbed.assert_same(curve(tmp_path / "stopped"), stopped.checkpoints)


def test_when_one_rank_is_asked_all_stop_at_the_same_step(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [30, 34])
    asked = job(tmp_path / "data", tmp_path / "out", duration="5000 steps", save_every=5000)
    messages = run_ranks(train_until, 2, asked, 3, join_group=False)
    saved = steps(asked.checkpoints)
    assert len(saved) == 1
    assert 3 <= saved[0] < 5000
    assert messages == [f"pretrain: stopped at step {saved[0]} by SIGTERM; the same command goes on"] * 2


def test_a_launcher_forwards_sigterm_once_and_gives_the_handler_back(monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(patience(60)) == 1
    assert signal.getsignal(signal.SIGTERM) is before
