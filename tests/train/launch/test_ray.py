from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from helpers.processes import descendants, gone, kill, start, wait_until
from helpers.shards import write_shards
from helpers.training import curve
from train.checkpoints.checkpoints import load_model
from train.checkpoints.layout import latest
from train.metrics.metrics import last_record

SMALL = {
    "model.embed_dim": "16", "model.vision.image_px": "16", "model.vision.patch_px": "8", "model.vision.width": "16",
    "model.vision.layers": "1", "model.vision.heads": "2", "model.text.context_length": "16", "model.text.width": "16",
    "model.text.layers": "1", "model.text.heads": "2", "stream.resize_px": "20", "stream.num_lanes": "4",
    "stream.shuffle_window": "5", "batch_pairs": "8", "warmup_steps": "2", "log_every": "1", "save_every": "4",
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """As Ray gives a worker of one CPU; torchrun would give each rank its share of the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def pretrain(work: Path, data: Path, *words: str):
    """`openwit pretrain` of a tiny model as a process, and the file of its output."""
    fields = [word for name, value in SMALL.items() for word in (f"--pretrain.{name}", value)]
    command = ["-m", "pipelines", "pretrain", "demo", "--work", str(work), "--pretrain.data", str(data)]
    output = work.parent / f"{work.name}.txt"
    return start([*command, *fields, *words], output), output


def weights(work: Path) -> dict[str, torch.Tensor]:
    return load_model(latest(str(work / "pretrain" / "checkpoints"))).state_dict()


def same(one: Path, other: Path) -> bool:
    """Whether both have the same metrics and weights, bit for bit."""
    first, second = weights(one), weights(other)
    return curve(one / "pretrain") == curve(other / "pretrain") and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def ray_worker(pid: int) -> psutil.Process | None:
    return next((p for p in descendants(pid) if any("TrainWorker" in word for word in p.cmdline())), None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_ray_two_workers_learn_bit_for_bit_what_two_ranks_of_torchrun_learn_killed_or_not(tmp_path):
    write_shards(tmp_path / "data", [16, 20])
    lasting = ("--pretrain.duration", "60 steps")
    plain, _ = pretrain(tmp_path / "plain", tmp_path / "data", *lasting)
    assert plain.wait(300) == 0
    on_ray, output = pretrain(tmp_path / "ray", tmp_path / "data", *lasting, "--launcher", "ray")

    def under_way() -> bool:
        record = last_record(tmp_path / "ray" / "pretrain" / "metrics.jsonl")
        return on_ray.poll() is not None or (record is not None and record["step"] >= 6)

    wait_until(under_way, 300)
    victim, family = ray_worker(on_ray.pid), descendants(on_ray.pid)
    assert victim is not None, output.read_text()
    kill(victim.pid)
    assert on_ray.wait(300) == 0, output.read_text()
    assert "again from the last checkpoint" in output.read_text()
    assert len(curve(tmp_path / "ray" / "pretrain")) == 60
    assert same(tmp_path / "plain", tmp_path / "ray")
    wait_until(lambda: gone(family), 300)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_is_wrong_is_one_line_on_ray_too(tmp_path):
    write_shards(tmp_path / "data", [16, 20])
    process, output = pretrain(tmp_path / "w", tmp_path / "data", "--launcher", "ray", "--pretrain.device", "cuda")
    assert process.wait(300) == 1
    told = "the Ray cluster has 0 GPUs for 2 ranks; wait for its nodes, or write --pretrain.device cpu"
    assert told in output.read_text()
    hot = ("--pretrain.learning_rate", "1e38", "--pretrain.warmup_steps", "0", "--pretrain.duration", "9 steps")
    process, output = pretrain(tmp_path / "hot", tmp_path / "data", "--launcher", "ray", *hot)
    assert process.wait(300) == 1
    assert output.read_text().splitlines()[-1].startswith("openwit: error: step ")
    assert "again" not in output.read_text()
    process, output = pretrain(
        tmp_path / "far", tmp_path / "data", "--launcher", "ray", "--overlap_executor.address", "ray://127.0.0.1:1"
    )
    assert process.wait(300) == 2
    assert "Ray Train has no client; run this command on a node of the cluster" in output.read_text()
