from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import s3_server
from helpers.launching import launched, ranks_of, steps_done
from helpers.processes import descendants, gone, kill, wait_until
from helpers.training import curve, job
from helpers.undisturbed import Undisturbed
from openwit import storage
from train.checkpoints.layout import steps
from train.job import Job
from train.metrics.mirror import mirrored, publish


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    server = s3_server.running()
    server.use(monkeypatch)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    return server.new_bucket()


def published_curve(job: Job, tmp_path: Path) -> list[dict[str, object]]:
    """The metrics as they are on the object store."""
    copy = tmp_path / "copy"
    copy.mkdir(exist_ok=True)
    (copy / "metrics.jsonl").write_bytes(storage.read_bytes(storage.join(job.out, "metrics.jsonl")))
    return curve(copy)


def test_metrics_go_on_from_what_was_published_on_whichever_machine(bucket: str, tmp_path: Path) -> None:
    made = job(tmp_path, f"{bucket}/run")
    with mirrored(made):
        shutil.rmtree(made.here)
    storage.write_bytes(storage.join(made.out, "metrics.jsonl"), b"one\n")
    with mirrored(made):
        with open(made.metrics, "a") as file:
            file.write("two\n")
        publish(made)
        assert storage.read_bytes(storage.join(made.out, "metrics.jsonl")) == b"one\ntwo\n"
        with open(made.metrics, "a") as file:
            file.write("three\n")
    assert storage.read_bytes(storage.join(made.out, "metrics.jsonl")) == b"one\ntwo\nthree\n"


def test_a_local_folder_is_where_metrics_grow(tmp_path: Path) -> None:
    made = job(tmp_path, tmp_path / "out")
    assert made.here == made.out == str(tmp_path / "out")
    with mirrored(made):
        publish(made)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_resumed_from_an_object_store_it_ends_with_the_same_curve_and_weights(
    bucket: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    killed = undisturbed.job(f"{bucket}/run", save_every=5)
    process, output = launched(killed, tmp_path)
    wait_until(lambda: len(steps(killed.checkpoints)) > 1 and steps_done(killed) > 12, 180)
    family = descendants(process.pid)
    kill(ranks_of(process.pid)[0].pid)
    assert process.wait(60) == 1, output.read_text()
    wait_until(lambda: gone(family))
    shutil.rmtree(killed.here)  # another machine goes on
    storage.write_bytes(storage.join(killed.checkpoints, "step-00000059/model.safetensors"), b"half")

    process, output = launched(killed, tmp_path)
    assert process.wait(120) == 0, output.read_text()
    assert "from step" in output.read_text()
    assert steps(killed.checkpoints) == [55, 60]
    assert {path.split("/")[0] for path in storage.list_tree(killed.checkpoints)} == {"step-00000055", "step-00000060"}
    undisturbed.assert_same(published_curve(killed, tmp_path), killed.checkpoints)
    assert "torchrun.log" not in storage.list_tree(killed.out)
