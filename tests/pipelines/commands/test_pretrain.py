# mypy: disable-error-code="arg-type, union-attr"
from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.places import ROOT
from helpers.shards import write_exclusions, write_shards
from openwit.errors import ConfigError, InputError
from openwit.log.events import Log
from pipelines import recipes
from pipelines.commands.pretrain import job_of, run_pretrain
from pipelines.session import Invocation
from train.job import JobRecord, write_record

SBATCH = ROOT / "pipelines" / "slurm" / "pretrain.sbatch"


def invocation(work: Path, recipe: str = "demo", dry_run: bool = False, **fields: object) -> Invocation:
    """`openwit pretrain` with some fields of its section."""
    from openwit.config import override

    texts = {f"pretrain.{name}": str(value) for name, value in fields.items()}
    made = override(recipes.create(recipe, str(work)), texts)
    return Invocation(recipe=made, work=str(work), log=Log(), dry_run=dry_run, as_json=False, resume=False)


def test_exclusions_are_those_of_the_work_folder_else_of_the_one_that_the_shards_lie_in(tmp_path: Path) -> None:
    own, other, third = (tmp_path / name for name in ("own", "other", "third"))
    shared = {"data": other / "shards"}
    assert job_of(invocation(own)).exclusions == ""
    assert job_of(invocation(own, **shared)).exclusions == ""
    for work in (other, third):
        (work / "duplicates").mkdir(parents=True)
        write_exclusions(work / "duplicates" / "exclusions.parquet", ["a"])
    assert job_of(invocation(own, **shared)).exclusions == str(other / "duplicates" / "exclusions.parquet")
    assert job_of(invocation(own, data=f"{other / 'shards'}=2")).exclusions.startswith(str(other))
    mixture = {"data": f"{other / 'shards'},{third / 'shards'}"}
    with pytest.raises(ConfigError, match=r"both exclude captions; put their rows into .*own/duplicates/exclusions"):
        job_of(invocation(own, **mixture))
    (own / "duplicates").mkdir(parents=True)
    write_exclusions(own / "duplicates" / "exclusions.parquet", ["a"])
    assert job_of(invocation(own, **mixture)).exclusions == str(own / "duplicates" / "exclusions.parquet")


def test_a_folder_of_checkpoints_stands_for_its_last_and_one_without_any_says_which_to_train(tmp_path: Path) -> None:
    asked = invocation(tmp_path / "vit_l14_336", "vit_l14_336")
    with pytest.raises(InputError, match=rf"run openwit pretrain vit_l14 --work {tmp_path}/vit_l14 first, or"):
        job_of(asked)
    for step in (7, 40):
        (tmp_path / "vit_l14" / "pretrain" / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    assert job_of(asked).config.initial.endswith("vit_l14/pretrain/checkpoints/step-00000040")
    assert job_of(invocation(tmp_path, initial="model.pt")).config.initial == "model.pt"
    begun = job_of(asked)
    write_record(JobRecord(job=begun, data_digest="", exclusions_digest=""))
    (Path(begun.checkpoints) / "step-00000001").mkdir(parents=True)
    (tmp_path / "vit_l14" / "pretrain" / "checkpoints" / "step-00000050").mkdir()
    assert job_of(asked) == begun


def test_a_dry_run_tells_what_the_training_costs_before_and_after_there_are_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dry = invocation(tmp_path / "w", "vit_b32", dry_run=True, data=tmp_path / "data", nodes=4, rendezvous="n:1")
    run_pretrain(dry)
    told = capsys.readouterr().err
    assert "400,000,000 samples (assumed, as in the paper: there are no shards yet)" in told
    assert "151.3 million parameters" in told
    assert "12,799,967,232 samples in 390,624 steps of 32,768 pairs" in told
    assert "GPU-hours on H100 or H200 at an MFU of 40% (assumed)" in told
    assert "on 32 GPUs" in told
    write_shards(tmp_path / "data", [30])
    run_pretrain(invocation(tmp_path / "w", dry_run=True, data=tmp_path / "data", batch_pairs=24))
    told = capsys.readouterr().err
    assert "30 samples, 1 steps an epoch" in told
    assert "9,600 samples in 400 steps of 24 pairs" in told
    assert not (tmp_path / "w").exists()


def test_the_page_names_every_field_of_a_training_and_no_other() -> None:
    from openwit.config import describe

    page = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    fields = {entry.path for entry in describe(recipes.create("vit_b32", "w").pretrain)}
    written = set(re.findall(r"--pretrain\.([a-z_0-9.]+)", page))
    assert written - fields - {"model"} == set()
    assert {path for path in fields - written if not path.startswith("model.") and f"`{path}" not in page} == set()


def test_a_dry_run_looks_at_the_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.gz"):
        run_pretrain(invocation(tmp_path, dry_run=True, merges=tmp_path / "none.gz"))


def test_make_hands_gpus_nodes_and_rendezvous_to_the_command_that_trains() -> None:
    given = ["RECIPE=vit_b32", "GPUS=8", "NODES=4", "RENDEZVOUS=host:29500", "WORK=/shared/b32"]

    def shown(target: str) -> str:
        made = subprocess.run(
            ["make", "--no-print-directory", "-n", target, *given], capture_output=True, text=True, cwd=ROOT, check=True
        )
        return " ".join(made.stdout.splitlines()[-1].split()).replace("'", "")

    where = "vit_b32 --work /shared/b32"
    assert shown("pretrain") == (
        f".venv/bin/openwit pretrain {where} --pretrain.ranks 8 --pretrain.nodes 4 --pretrain.rendezvous host:29500"
    )
    assert f"train-detector {where} --detector.ranks 8 --detector.nodes 4" in shown("train-detector")
    assert shown("stats") == f".venv/bin/openwit stats {where}"


def slurm_job(folder: Path, words: list[str], **scripts: str) -> subprocess.CompletedProcess[str]:
    """pretrain.sbatch as SLURM runs it on two nodes of eight GPUs, in a folder with these bash scripts for commands."""
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "70123", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "8",
        "SLURM_JOB_NODELIST": "node-[7-8]", "SLURM_CPUS_PER_TASK": "96",
    }  # fmt: skip
    environment = {**os.environ, **slurm, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    run_pretrain = ["bash", str(SBATCH), *words]
    return subprocess.run(run_pretrain, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(("ends_with", "requeued"), [(0, False), (143, True), (1, False), (2, False)])
def test_the_slurm_script_starts_every_node_and_queues_a_stopped_job_again(
    tmp_path: Path, ends_with: int, requeued: bool
) -> None:
    done = slurm_job(
        tmp_path,
        ["vit_l14", "--work", "/shared/l14"],
        srun=f'echo "srun $*" >> calls; exit {ends_with}',
        scontrol='echo "scontrol $*" >> calls; [ "$1" = requeue ] || printf "node-7\\nnode-8\\n"',
    )
    assert done.returncode == ends_with, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "scontrol show hostnames node-[7-8]"
    assert calls[1] == (
        'srun --kill-on-bad-exit=1 --cpus-per-task=96 /bin/sh -c trap "" TERM; exec "$@" sh .venv/bin/openwit pretrain '
        "vit_l14 --pretrain.ranks 8 --pretrain.nodes 2 --pretrain.rendezvous node-7:20123 --work /shared/l14"
    )
    assert calls[2:] == (["scontrol requeue 70123"] if requeued else [])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_a_launcher_that_srun_ends_for_another_has_failed_does_not_queue_the_job_again(tmp_path: Path) -> None:
    launcher = tmp_path / ".venv" / "bin" / "openwit"
    launcher.parent.mkdir(parents=True)
    launcher.write_text("#!/bin/bash\nkill -TERM $$; exit 2\n")
    launcher.chmod(0o755)
    done = slurm_job(
        tmp_path,
        ["vit_l14"],
        srun='while [[ $1 == --* ]]; do shift; done; exec "$@"',
        scontrol='[ "$1" != requeue ] || touch requeued; printf "node-7\\nnode-8\\n"',
    )
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "requeued").exists()
