from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.ranks import run_ranks
from helpers.training import job
from openwit.errors import WorkError
from train.metrics import loss_monitor
from train.metrics.loss_monitor import (
    KEPT_SEEN,
    MAX_OVERFLOWS,
    MAX_UNSEEN,
    MIN_LINES,
    USUAL_LINES,
    LossMonitor,
    UsualLoss,
)
from train.metrics.metrics import Metrics, read_records
from train.ranks import Ranks
from train.step import Measured


class Alone(Ranks):
    """One rank without a process group."""

    def gather(self, value: Any) -> Any:
        return [value]


ALONE = Alone(0, 1, torch.device("cpu"))


def measured(loss: float, norm: float = 1.0) -> Measured:
    return Measured(torch.tensor(loss), torch.tensor(norm))


def monitor_of(out: Path, start_step: int = 0, **changes: object) -> LossMonitor:
    return LossMonitor(job(out / "data", out, **changes), ALONE, start_step)


def test_a_step_is_not_read_before_it_is_looked_at(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path)
    for step in range(1, MAX_UNSEEN):
        monitor.add(step, measured(math.nan if step == 3 else 1.0), 0.1, ("a",))
    with pytest.raises(WorkError, match="step 3: the loss is nan"):
        monitor.add(MAX_UNSEEN, measured(1.0), 0.1, ("a",))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (measured(math.inf), "step 15: the loss is inf"),
        (measured(2.5, math.nan), r"step 15: the gradient's norm is nan \(the loss 2\.5000\)"),
    ],
)
def test_the_steps_before_a_stop_are_written_with_their_keys(tmp_path: Path, bad: Any, message: str) -> None:
    monitor = monitor_of(tmp_path)
    for step in range(1, 14):
        monitor.add(step, measured(step / 10), step / 1000, (f"{step}-a", f"{step}-b"))
    monitor.check()
    monitor.add(14, measured(0.5), 0.014, ("c",))
    monitor.add(15, bad, 0.015, ("d", "e"))
    monitor.add(16, measured(math.nan), 0.016, ("f",))
    path = tmp_path / "stopped" / "step-00000015.json"
    with pytest.raises(WorkError, match=message) as raised:
        monitor.check()
    assert str(path) in str(raised.value)
    assert "pretrain.learning_rate" in str(raised.value)
    held = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert [entry["step"] for entry in held["steps"]] == list(range(14 - KEPT_SEEN, 17))
    thirteenth, fifteenth = held["steps"][-4], held["steps"][-2]
    assert thirteenth == {
        "step": 13, "loss": pytest.approx(1.3), "gradient_norm": 1.0, "learning_rate": 0.013,
        "keys": {"0": ["13-a", "13-b"]},
    }  # fmt: skip
    assert fifteenth["keys"] == {"0": ["d", "e"]}
    assert held["steps"][-1]["loss"] == "nan"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_scaler_an_infinite_gradient_stops_at_once(tmp_path: Path, precision: str) -> None:
    monitor = monitor_of(tmp_path, precision=precision)
    monitor.add(1, measured(1.0, math.inf), 0.1, ("a",))
    with pytest.raises(WorkError, match="step 1: the gradient's norm is inf"):
        monitor.check()


def test_fp16_may_overflow_but_not_for_ever(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path, precision="fp16")
    for step in range(1, 4 * MAX_OVERFLOWS):
        monitor.add(step, measured(1.0, 1.0 if step % MAX_OVERFLOWS == 0 else math.inf), 0.1, ())
    monitor.check()
    for step in range(4 * MAX_OVERFLOWS, 4 * MAX_OVERFLOWS + 2):
        monitor.add(step, measured(1.0, math.nan), 0.1, ())
    with pytest.raises(WorkError, match=rf"fp16 overflowed in {MAX_OVERFLOWS} steps in a row"):
        monitor.check()
    monitor = monitor_of(tmp_path, precision="fp16")
    monitor.add(1, measured(math.nan), 0.1, ())
    with pytest.raises(WorkError, match="the loss is nan"):
        monitor.check()


def log(monitor: LossMonitor, out: Path, step: int, loss: float) -> None:
    """A step that is logged, as a report does it."""
    monitor.add(step, measured(loss), 0.1, (f"{step}-a",))
    monitor.check()
    monitor.logged(loss)
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "loss": loss}) + "\n")


def test_a_leap_is_a_spike_after_a_warm_start_and_a_run_that_goes_on_finds_the_same(tmp_path: Path) -> None:
    losses = [9.0, *[2.0] * (MIN_LINES - 1), 2.5, 5.0, 2.0, 6.0]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for out, stop in ((whole, len(losses)), (halves, len(losses) - 1)):
        out.mkdir()
        monitor = monitor_of(out)
        for step, loss in enumerate(losses[:stop], 1):
            log(monitor, out, step, loss)
    start = len(losses) - 2  # the last checkpoint
    Metrics(halves / "metrics.jsonl", start)
    monitor = monitor_of(halves, start)
    assert monitor.num_spikes == 1
    for step, loss in enumerate(losses[start:], start + 1):
        log(monitor, halves, step, loss)
    assert monitor.num_spikes == 2

    def spikes(out: Path) -> list[dict[str, object]]:
        return [{**line, "unix_s": None} for line in read_records(out / "spikes.jsonl")]

    assert spikes(whole) == spikes(halves)
    first, second = spikes(whole)
    assert first["step"] == MIN_LINES + 2
    assert first["loss"] == 5.0
    assert first["mean"] == pytest.approx((9.0 + 2.0 * (MIN_LINES - 1) + 2.5) / (MIN_LINES + 1))
    assert first["keys"] == {"0": [f"{MIN_LINES + 2}-a"]}
    assert second["step"] == len(losses)


def test_a_spike_between_the_logged_steps_is_found_too(tmp_path: Path) -> None:
    monitor = monitor_of(tmp_path)
    for step in range(1, MIN_LINES + 1):
        log(monitor, tmp_path, step, 2.0)
    monitor.add(101, measured(2.0), 0.1, ("a",))
    monitor.add(102, measured(3.1), 0.1, ("b",))
    monitor.add(103, measured(2.0), 0.1, ("c",))
    monitor.check()
    assert [(line["step"], line["keys"]) for line in read_records(tmp_path / "spikes.jsonl")] == [(102, {"0": ["b"]})]


@given(st.lists(st.floats(0.0, 20.0)))
def test_the_usual_loss_is_the_mean_of_the_newest_lines(losses: Any) -> None:
    usual = UsualLoss(losses[:7])
    for loss in losses[7:]:
        usual.add(loss)
    newest = losses[-USUAL_LINES:]
    assert usual.mean == (math.fsum(newest) / len(newest) if len(losses) >= MIN_LINES else None)


def stopped_together(out: str) -> str:
    import torch.distributed as dist

    rank = dist.get_rank()
    monitor = LossMonitor(job(Path(out) / "data", Path(out)), Ranks(rank, 2, torch.device("cpu")), 0)
    monitor.add(1, measured(1.0), 0.1, (f"1-{rank}",))
    monitor.add(2, measured(math.nan if rank == 1 else 1.0), 0.1, (f"2-{rank}",))
    try:
        monitor.check()
    except WorkError as error:
        return str(error)
    return "went on"


def test_all_ranks_stop_for_what_one_sees_and_the_file_holds_the_keys_of_all(tmp_path: Path) -> None:
    first, second = run_ranks(stopped_together, 2, str(tmp_path))
    assert "step 2: the loss is nan" in first
    assert first == second
    held = json.loads((tmp_path / loss_monitor.STOPPED / "step-00000002.json").read_text())
    assert [entry["keys"] for entry in held["steps"]] == [
        {"0": ["1-0"], "1": ["1-1"]},
        {"0": ["2-0"], "1": ["2-1"]},
    ]
