# mypy: disable-error-code="comparison-overlap, index, operator"
from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.shards import COLOURS, VALUES, write_shards
from helpers.training import alone, batch_loader, curve, job, newest, train_here
from models.tokenizer.tokenizer import Tokenizer
from openwit.errors import ConfigError, WorkError
from train.checkpoints.checkpoints import load_model
from train.checkpoints.layout import steps
from train.data.dataset import open_data_set
from train.evals.config import EvaluateConfig, ZeroShotConfig
from train.evals.suite import Suite
from train.metrics.flops import training_flops
from train.metrics.metrics import CLOCK_FIELDS, batch_digest, key_sum, read_records


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [16, 20])
    return folder


def write_set(folder: Path) -> str:
    images = []
    for value in VALUES:
        file = io.BytesIO()
        Image.new("RGB", (20, 20), value).save(file, "PNG")
        images.append(file.getvalue())
    pq.write_table(pa.table({"key": COLOURS, "image": images, "label": COLOURS}), folder / "set.parquet")
    return str(folder / "set.parquet")


def test_evaluations_while_training_are_those_of_the_checkpoints_and_the_curve_never_knows(
    data: Path, tmp_path: Path
) -> None:
    evals = EvaluateConfig(
        zero_shot_set=write_set(tmp_path), zero_shot=ZeroShotConfig(prompts=("{label} on red",)), digits=False
    )
    with alone():
        train_here(job(data, tmp_path / "without", ranks=1))
        evaluated = dataclasses.replace(job(data, tmp_path / "with", ranks=1, eval_every=4), evals=evals)
        train_here(evaluated)
    assert curve(tmp_path / "with") == curve(tmp_path / "without")
    one, other = (load_model(newest(str(tmp_path / name / "checkpoints"))) for name in ("with", "without"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    lines = read_records(tmp_path / "with" / "evals.jsonl")
    assert [line["step"] for line in lines] == [4, 6]
    for line in lines:
        model = load_model(f"{evaluated.checkpoints}/step-{line['step']:08d}")
        tokenizer = Tokenizer.of(model.config.text)
        assert Suite(evals).run(model, tokenizer, model.preprocess)["zero_shot"] == line["zero_shot"]
    assert not (tmp_path / "without" / "evals.jsonl").exists()
    shown = event_scalars(tmp_path / "with" / "tensorboard")
    assert shown["eval/zero_shot/top1"] == [(n["step"], pytest.approx(n["zero_shot"]["top1"])) for n in lines]
    assert shown["loss"] == [(n["step"], pytest.approx(n["loss"])) for n in curve(tmp_path / "with")]


def event_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(e.step, e.value) for e in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_a_line_tells_speed_memory_ranks_and_the_share_of_the_peak(data: Path, tmp_path: Path) -> None:
    made = job(data, tmp_path, ranks=1, peak_tflops="0.001", tensorboard="false")
    with alone():
        train_here(made)
    assert not (tmp_path / "tensorboard").exists()
    for line in read_records(tmp_path / "metrics.jsonl"):
        assert set(line) > CLOCK_FIELDS | {"batch", "spikes"}
        assert 0 < line["own_s"] == line["own_max_s"] < line["step_s"]
        assert (line["slowest_rank"], line["spikes"]) == (0, 0)
        assert 0.1 < line["memory_gb"] < 8
        least, most = (training_flops(made.config, tokens) for tokens in (3, 16))
        assert least < line["mfu"] * 1e9 / line["samples_per_s"] * 1.01
        assert line["mfu"] * 1e9 / line["samples_per_s"] * 0.99 < most


def test_without_a_known_peak_there_is_no_mfu_and_fp16_tells_of_its_scale(data: Path, tmp_path: Path) -> None:
    with alone():
        train_here(job(data, tmp_path, ranks=1, precision="fp16", duration="2 steps"))
    for text in (tmp_path / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
        assert "mfu" not in line
        assert line["gradient_scale"] > 1
        assert line["overflowed_steps"] >= 0


def test_a_lines_digest_is_that_of_the_steps_batch(data: Path, tmp_path: Path) -> None:
    made = job(data, tmp_path, ranks=1, duration="5 steps")
    with alone():
        train_here(made)
    with batch_loader(open_data_set(made.data, made.exclusions), made.config) as batches:
        keys = [next(batches).keys for _ in range(5)]
    assert [line["batch"] for line in curve(tmp_path)] == [batch_digest([key_sum(batch)]) for batch in keys]
    assert len(set(keys)) == 5


def test_no_checkpoint_is_written_after_a_bad_loss_though_nobody_looked_before(data: Path, tmp_path: Path) -> None:
    changes = {"learning_rate": 1e38, "warmup_steps": 0, "save_every": 2, "log_every": 6}
    with alone(), pytest.raises(WorkError, match=r"step [23]: the loss is (nan|inf)"):
        train_here(job(data, tmp_path, ranks=1, **changes))
    (stopped,) = (tmp_path / "stopped").glob("*.json")
    held = json.loads(stopped.read_text())
    assert all(len(entry["keys"]["0"]) == 8 for entry in held["steps"])
    assert all(step < held["step"] for step in steps(str(tmp_path / "checkpoints")))
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_what_cannot_be_reported_is_refused_before_the_first_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alone(), pytest.raises(ConfigError, match="the section evaluate asks for nothing"):
        train_here(job(data, tmp_path, ranks=1, eval_every=2))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    with alone(), pytest.raises(ConfigError, match="pip install tensorboard"):
        train_here(job(data, tmp_path, ranks=1))
    assert read_records(tmp_path / "metrics.jsonl") == []
