from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from helpers.processes import Process, descendants, gone, kill, start, wait_until
from helpers.shards import write_shards
from helpers.training import CONFIG, curve
from helpers.undisturbed import NUM_STEPS, Undisturbed
from openwit.config import describe
from pipelines import recipes
from train.metrics.metrics import last_record


def changed_fields(work: Path) -> list[str]:
    """The options that make the demo's recipe helpers.training.CONFIG."""
    recipe = {field.path: field.value for field in describe(recipes.create("demo", str(work)).pretrain)}
    changed = [field for field in describe(CONFIG) if field.value != recipe[field.path]]
    return [word for field in changed for word in (f"--pretrain.{field.path}", str(field.value))]


def on_ray(work: Path, data: Path, *words: str) -> tuple[Process, Path]:
    """`openwit pretrain` as a process, and the file of its output."""
    command = ["-m", "pipelines", "pretrain", "demo", "--work", str(work), "--pretrain.data", str(data)]
    output = work.parent / f"{work.name}.txt"
    return start([*command, *changed_fields(work), "--launcher", "ray", *words], output), output


def ray_worker(pid: int) -> psutil.Process | None:
    return next((p for p in descendants(pid) if any("TrainWorker" in word for word in p.cmdline())), None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_ray_two_workers_learn_bit_for_bit_what_two_ranks_of_torchrun_learn_killed_or_not(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    process, output = on_ray(tmp_path / "ray", undisturbed.data, "--pretrain.duration", f"{NUM_STEPS} steps")

    def under_way() -> bool:
        record = last_record(tmp_path / "ray" / "pretrain" / "metrics.jsonl")
        return process.poll() is not None or (record is not None and int(str(record["step"])) >= 6)

    wait_until(under_way, 300)
    victim, family = ray_worker(process.pid), descendants(process.pid)
    assert victim is not None, output.read_text()
    kill(victim.pid)
    assert process.wait(300) == 0, output.read_text()
    assert "again from the last checkpoint" in output.read_text()
    trained = tmp_path / "ray" / "pretrain"
    undisturbed.assert_same(curve(trained), str(trained / "checkpoints"))
    wait_until(lambda: gone(family), 300)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_is_wrong_is_one_line_on_ray_too(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [16, 20])
    process, output = on_ray(tmp_path / "w", tmp_path / "data", "--pretrain.device", "cuda")
    assert process.wait(300) == 1
    told = "the Ray cluster has 0 GPUs for 2 ranks; wait for its nodes, or write --pretrain.device cpu"
    assert told in output.read_text()
    hot = ("--pretrain.learning_rate", "1e38", "--pretrain.warmup_steps", "0", "--pretrain.duration", "9 steps")
    process, output = on_ray(tmp_path / "hot", tmp_path / "data", *hot)
    assert process.wait(300) == 1
    assert output.read_text().splitlines()[-1].startswith("openwit: error: step ")
    assert "again" not in output.read_text()
    process, output = on_ray(tmp_path / "far", tmp_path / "data", "--overlap_executor.address", "ray://127.0.0.1:1")
    assert process.wait(300) == 2
    assert "Ray Train has no client; run this command on a node of the cluster" in output.read_text()
