from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from helpers.shards import write_exclusions, write_shards
from helpers.training import job
from openwit.config import describe
from openwit.errors import ConfigError, InputError
from train.config import DetectorTrainingConfig, PretrainConfig
from train.evals.config import EvaluateConfig
from train.job import make_record, on_this_machine, read_record, require_same, write_record


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [4])
    record = make_record(job(tmp_path / "data", tmp_path / "out"))
    assert read_record(write_record(record)) == record


def test_the_same_job_may_go_on_with_other_ranks_threads_and_intervals(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [4])
    before = make_record(job(tmp_path / "data", tmp_path / "out"))
    free = {"ranks": 4, "stream__threads": 1, "stream__cache_decoded_mb": 9, "save_every": 2, "log_every": 3}
    now = make_record(job(tmp_path / "data", tmp_path / "out", **free))
    assert now != before
    require_same(before, now)


def test_what_a_training_may_go_on_without_is_said_at_its_fields() -> None:
    """A new field must be placed: here and as Free in the config, or as part of what is learned."""
    every = {
        "data", "ranks", "nodes", "rendezvous", "log_every", "save_every", "keep_last", "spike", "tensorboard",
        "wandb_project", "peak_tflops", "stream.threads", "stream.processes", "stream.read_ahead",
        "stream.cache_decoded_mb", "stream.remote_ahead_mb", "stream.remote_patience_s",
    }  # fmt: skip
    found = {entry.path for entry in describe(DetectorTrainingConfig()) if entry.free}
    assert found == every
    assert {entry.path for entry in describe(PretrainConfig()) if entry.free} == {
        *every, "checkpoint_blocks", "eval_every"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "written"),
    [
        ("learning_rate", 0.5, "0.001"),
        ("model__embed_dim", 8, "16"),
        ("stream__shuffle_window", 6, "5"),
        ("seed", 4, "3"),
    ],
)
def test_another_config_is_refused_with_the_field_and_its_old_value(
    tmp_path: Path, path: str, value: float, written: str
) -> None:
    write_shards(tmp_path / "data", [4])
    before = make_record(job(tmp_path / "data", tmp_path / "out"))
    now = make_record(job(tmp_path / "data", tmp_path / "out", **{path: value}))
    with pytest.raises(ConfigError, match=f"write --pretrain.{path.replace('__', '.')} {written} to go on"):
        require_same(before, now)


def test_other_data_or_exclusions_are_refused_but_not_another_place(tmp_path: Path) -> None:
    for name, sizes in (("data", [4]), ("moved", [4]), ("other", [5])):
        write_shards(tmp_path / name, sizes)
    before = make_record(job(tmp_path / "data", tmp_path / "out"))
    moved = job(tmp_path / "moved", tmp_path / "out")
    require_same(before, make_record(moved))
    config = dataclasses.replace(moved.config, data=moved.data)
    require_same(before, make_record(dataclasses.replace(moved, config=config)))
    for data in (tmp_path / "other", f"{tmp_path / 'data'}=2"):
        with pytest.raises(ConfigError, match=r"is not the data that .* or not in the same passes"):
            require_same(before, make_record(job(data, tmp_path / "out")))
    exclusions = write_exclusions(tmp_path / "x.parquet", ["a"])
    with pytest.raises(ConfigError, match="exclusions changed"):
        require_same(before, make_record(job(tmp_path / "data", tmp_path / "out", exclusions)))


def test_another_vocabulary_under_the_same_name_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [4])
    (tmp_path / "merges.gz").write_bytes(b"one")
    before = make_record(job(tmp_path / "data", tmp_path / "out", merges=tmp_path / "merges.gz"))
    (tmp_path / "merges.gz").write_bytes(b"another")
    now = make_record(job(tmp_path / "data", tmp_path / "out", merges=tmp_path / "merges.gz"))
    with pytest.raises(ConfigError, match="vocabulary changed"):
        require_same(before, now)


def test_a_vocabulary_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = on_this_machine(job(tmp_path / "data", tmp_path / "out", merges="merges.gz"))
    assert there.config.merges == str(tmp_path / "merges.gz")  # type: ignore[union-attr]


def test_an_evaluation_set_is_found_from_another_folder_and_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "data", [4])
    before = job(tmp_path / "data", tmp_path / "out")
    now = dataclasses.replace(before, evals=EvaluateConfig(zero_shot_set="set.parquet"))
    there = on_this_machine(now).evals
    assert there is not None
    assert there.zero_shot_set == str(tmp_path / "set.parquet")
    assert read_record(write_record(make_record(now))).job.evals == now.evals
    require_same(make_record(before), make_record(now))


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        make_record(job(tmp_path / "data", tmp_path / "out"))
    with pytest.raises(InputError, match=r"x\.parquet: no such file"):
        make_record(job(tmp_path / "data", tmp_path / "out", str(tmp_path / "x.parquet")))


def test_local_paths_are_made_absolute_and_remote_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = dataclasses.replace(
        job(tmp_path, tmp_path), data=("s3://bucket/shards", "here=0.5", "year=24/"), out="out", exclusions="x.parquet"
    )
    whole = on_this_machine(here)
    assert whole.data == ("s3://bucket/shards", f"{tmp_path}/here=0.5", f"{tmp_path}/year=24=1")
    assert whole.out == str(tmp_path / "out")
    assert whole.exclusions == str(tmp_path / "x.parquet")
    remote = on_this_machine(dataclasses.replace(here, out="s3://bucket/out"))
    assert remote.out == "s3://bucket/out"
    assert remote.checkpoints == "s3://bucket/out/checkpoints"
    assert os.path.isabs(remote.here)
    assert remote.metrics == f"{remote.here}/metrics.jsonl"
    assert remote.here != on_this_machine(dataclasses.replace(here, out="s3://bucket/other")).here
