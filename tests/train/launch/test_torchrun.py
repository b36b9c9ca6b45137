from __future__ import annotations

import io
import random
import time
from pathlib import Path

import psutil
import pytest
import torch

from helpers.launching import agent_of, launched, ranks_of, steps_done
from helpers.matrices import ALL
from helpers.processes import descendants, gone, kill, wait_until
from helpers.shards import write_shards
from helpers.training import curve, job
from helpers.undisturbed import NUM_STEPS, Undisturbed
from openwit.errors import ConfigError, InputError
from openwit.log.events import Log
from train.job import Job, make_record, write_record
from train.launch.torchrun import launch

NUM_KILLS = 10 if ALL else 3
FINDERS = {  # of the process that is to die
    "rank": lambda pid: next(iter(ranks_of(pid)), None),
    "torchrun": agent_of,
    "launcher": psutil.Process,
}


def is_writing(job: Job) -> bool:
    """Whether a checkpoint is on its way to the disk."""
    return any(Path(job.checkpoints, ".scratch").glob("step-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # it starts a training five times, with --all twelve
def test_killed_at_random_moments_it_ends_with_the_same_curve_and_weights(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    killed, chance = undisturbed.job(tmp_path / "killed", save_every=4), random.Random(11)
    goals = sorted(chance.sample(range(8, NUM_STEPS - 5), NUM_KILLS))
    victims = [*FINDERS, *chance.choices([*FINDERS], k=NUM_KILLS - len(FINDERS))]
    chance.shuffle(victims)
    for number, (goal, victim) in enumerate(zip(goals, victims, strict=True)):
        process, output = launched(killed, tmp_path)
        wait_until(lambda: steps_done(killed) >= goal, 180)  # noqa: B023 - it is called at once
        find = FINDERS[victim]
        wait_until(lambda: find(process.pid))  # noqa: B023 - the goal may have been reached before
        doomed, family = find(process.pid), descendants(process.pid)
        if number % 3 == 1:
            wait_until(lambda: is_writing(killed) or not ranks_of(process.pid))  # noqa: B023 - it is called at once
        else:
            time.sleep(chance.random() * 0.03)
        kill(doomed.pid)
        wait_until(lambda: gone(family))  # noqa: B023 - it is called at once
        assert process.wait(30) == (-9 if victim == "launcher" else 1), (goals, victims, output.read_text())
        if victim != "launcher":
            assert "killed" in output.read_text().splitlines()[-1]
    process, output = launched(killed, tmp_path)
    assert process.wait(120) == 0, output.read_text()
    assert "from step" in output.read_text()
    undisturbed.assert_same(curve(tmp_path / "killed"), killed.checkpoints)

    process, output = launched(killed, tmp_path)
    assert process.wait(60) == 0
    assert output.read_text().splitlines()[-2:] == ["pretrain: 60/60 steps done before", "torch imported: False"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_ranks_own_error_is_the_commands_error(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [16])
    with pytest.raises(ConfigError, match=r"pretrain\.device=cuda: this machine has 0 GPUs for 2 ranks"):
        launch(job(tmp_path / "data", tmp_path / "out", device="cuda"), Log(stream=io.StringIO()))


def test_bad_jobs_are_refused_before_anything_starts(tmp_path: Path) -> None:
    quiet = Log(stream=io.StringIO())
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        launch(job(tmp_path / "data", tmp_path / "out"), quiet)
    write_shards(tmp_path / "data", [7])
    with pytest.raises(ConfigError, match="write 4 or less"):
        launch(job(tmp_path / "data", tmp_path / "out"), quiet)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "checkpoints" / "step-00000004").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"has checkpoints but no config\.json"):
        launch(job(tmp_path / "data", tmp_path / "out", batch_pairs=4), quiet)
    write_record(make_record(job(tmp_path / "data", tmp_path / "out", batch_pairs=4)))
    with pytest.raises(ConfigError, match=r"write --pretrain\.seed 3 to go on"):
        launch(job(tmp_path / "data", tmp_path / "out", batch_pairs=4, seed=5), quiet)
