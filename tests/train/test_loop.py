from __future__ import annotations

import fcntl
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.launching import steps_done, train_until
from helpers.ranks import run_ranks
from helpers.shards import rewritten, write_shards
from helpers.training import alone, curve, job, newest, train_here
from openwit.errors import WorkError
from train import loop
from train.checkpoints.checkpoints import load_model, load_state
from train.checkpoints.layout import folder_of, steps


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [16, 20])
    with rewritten(folder / "00001.tar") as members:
        members["000010003.jpg"] = b"broken"
    return folder


def weights(out: Any) -> Any:
    return load_model(newest(str(out / "checkpoints"))).state_dict()


def test_two_ranks_learn_what_one_learns(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with alone():
        train_here(job(data, one, ranks=1))
    run_ranks(train_here, 2, job(data, two), join_group=False)
    assert [record["step"] for record in curve(one)] == [1, 2, 3, 4, 5, 6]
    for record, other in zip(curve(one), curve(two), strict=True):
        assert other["loss"] == pytest.approx(record["loss"], abs=1e-5)
        assert other["gradient_norm"] == pytest.approx(record["gradient_norm"], rel=1e-3)
        assert other["batch"] == record["batch"]
        assert other["skipped"] == record["skipped"]
        assert other["damaged"] == record["damaged"]
    for name, value in weights(two).items():
        torch.testing.assert_close(value, weights(one)[name], atol=2e-4, rtol=0)


def test_a_run_stopped_anywhere_goes_on_bit_for_bit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stopped_at(step: int) -> Any:
        def due(now: int, every: int, num_steps: int) -> Any:
            if now == step and every == 1:
                raise Stop
            return now % every == 0 or now == num_steps

        return due

    undisturbed, stopped = (job(data, tmp_path / name, ranks=1, duration="11 steps") for name in ("a", "b"))
    with alone():
        train_here(undisturbed)
        for step in (3, 7, 10):
            monkeypatch.setattr(loop, "due", stopped_at(step))
            with pytest.raises(Stop):
                train_here(stopped)
        monkeypatch.undo()
        train_here(stopped)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert len(curve(tmp_path / "a")) == 11
    assert steps(str(tmp_path / "b" / "checkpoints")) == [8, 11]
    before = weights(tmp_path / "a")
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "b").items())


@pytest.mark.parametrize("field", [{"precision": "fp16"}, {"optimizer_state_dtype": "bf16"}, {"accumulation": 2}])
def test_halves_make_the_whole_with_a_gradient_scaler_bf16_statistics_or_parts_of_a_batch(
    data: Path, tmp_path: Path, field: dict[str, Any]
) -> None:
    whole, halves = (job(data, tmp_path / name, ranks=1, duration="4 steps", save_every=2, **field) for name in "ab")
    with alone():
        train_here(whole)
        train_here(halves)
        shutil.rmtree(folder_of(halves.checkpoints, 4))
        train_here(halves)
    assert curve(tmp_path / "b") == curve(tmp_path / "a")
    assert all(torch.equal(value, weights(tmp_path / "a")[name]) for name, value in weights(tmp_path / "b").items())
    states = [load_state(newest(made.checkpoints)) for made in (whole, halves)]
    assert states[0].scaler == states[1].scaler
    assert bool(states[0].scaler) == ("precision" in field)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts eight ranks
def test_on_two_then_four_then_one_ranks_the_global_batches_are_those_of_an_undisturbed_run(
    data: Path, tmp_path: Path
) -> None:
    changed, undisturbed = (job(data, tmp_path / name, duration="5000 steps") for name in ("changed", "undisturbed"))
    done = 0
    for num_ranks in (2, 4, 1):
        run_ranks(train_until, num_ranks, changed, done + 4, join_group=False)
        done = steps_done(changed)
    run_ranks(train_until, 1, undisturbed, done, join_group=False)
    batches, others = ([record["batch"] for record in curve(tmp_path / name)] for name in ("changed", "undisturbed"))
    assert len(batches) == done >= 12
    assert batches == others[:done]
    assert len(set(batches)) == done


def test_it_learns_and_names_what_is_damaged(data: Path, tmp_path: Path) -> None:
    with alone():
        train_here(job(data, tmp_path, ranks=1, duration="80 steps", learning_rate=0.004, log_every=20))
    records = curve(tmp_path)
    assert records[-1]["loss"] < 0.85 * math.log(8)
    assert records[-1]["samples"] == 640
    assert records[-1]["skipped"]["image"] > 0
    assert any("000010003: not a readable image" in name for record in records for name in record["damaged"])


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(data: Path, tmp_path: Path) -> None:
    with alone(), pytest.raises(WorkError, match=r"step [23]: the loss is (nan|inf)"):
        train_here(job(data, tmp_path, ranks=1, learning_rate=1e38, warmup_steps=0, save_every=1))
    assert steps(str(tmp_path / "checkpoints"))


def test_the_logit_scale_is_clipped(data: Path, tmp_path: Path) -> None:
    with alone():
        train_here(job(data, tmp_path, ranks=1, max_logit_scale=14.0))
    assert load_model(folder_of(str(tmp_path / "checkpoints"), 6)).logit_scale.exp() <= 14.0001


def test_bf16_towers_train_too(data: Path, tmp_path: Path) -> None:
    with alone():
        train_here(job(data, tmp_path, ranks=1, precision="bf16"))
    assert weights(tmp_path)["visual.proj"].dtype == torch.float32
    assert math.isfinite(curve(tmp_path)[-1]["loss"])


def test_a_resnet_trains_and_goes_on_bit_for_bit_with_its_blocks_checkpointed_or_not(
    data: Path, tmp_path: Path
) -> None:
    small = {
        "model": "RN50", "model__embed_dim": 16, "model__vision__image_px": 32, "model__vision__width": 8,
        "model__vision__heads": 4, "model__vision__layers": "1,1,1,1", "model__text__width": 16,
        "model__text__layers": 1, "model__text__heads": 2, "model__text__context_length": 16, "stream__resize_px": 36,
    }  # fmt: skip
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    with alone():
        train_here(job(data, whole, ranks=1, duration="4 steps", save_every=2, **small))
        train_here(job(data, halves, ranks=1, duration="4 steps", save_every=2, checkpoint_blocks="true", **small))
        shutil.rmtree(folder_of(str(halves / "checkpoints"), 4))
        train_here(job(data, halves, ranks=1, duration="4 steps", save_every=2, **small))
    assert curve(halves) == curve(whole)
    assert weights(halves)["visual.layer1.0.bn1.num_batches_tracked"] == 4
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(halves).items())


def test_two_runs_never_write_the_same_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOCK_WAIT_S", 0.2)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with alone(), pytest.raises(WorkError, match="another run is training here"):
            train_here(job(data, tmp_path, ranks=1))
