"""The whole line once, small: every joint real, as `make demo` runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.patience import patience
from helpers.places import ROOT
from helpers.ports import keep_port

SMALL = {
    "web.max_images": "160",
    "web.num_heldout": "10",
    "web.num_things": "6",
    "web.num_planted": "3",
    "web.slow_s": "4",
    "crawl.deadline_s": "2",
    "pretrain.duration": "4 steps",
    "pretrain.save_every": "2",
    "pretrain.warmup_steps": "1",
    "pretrain.batch_pairs": "24",
}


@pytest.fixture(scope="module")
def fields() -> list[str]:
    return [word for name, value in {**SMALL, "web.port": str(keep_port())}.items() for word in (f"--{name}", value)]


def openwit(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience(230), cwd=ROOT, env=environment, check=False
    )


@pytest.fixture(scope="module")
def work(fields: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "work"
    result = openwit("demo", "demo", "--work", str(folder), *fields, "--debug")
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_the_summary_holds_every_number_of_the_line(work: Path) -> None:
    summary = json.loads((work / "summary.json").read_text())
    assert set(summary) == {
        "funnel", "overlap_planted", "overlap_found", "overlap_false", "zero_shot_top1", "zero_shot_top5",
        "digits_accuracy", "seconds", "peak_memory_gb",
    }  # fmt: skip
    assert summary["overlap_planted"] == summary["overlap_found"] == 3
    assert summary["overlap_false"] == 0
    assert 0.5 < summary["digits_accuracy"] <= 1
    assert 0 < summary["peak_memory_gb"] < 6


@pytest.mark.slow
def test_every_candidate_ends_in_one_counted_state(work: Path) -> None:
    funnel = json.loads((work / "summary.json").read_text())["funnel"]
    assert [step["step"] for step in funnel] == ["match", "shuffle", "distinct", "select", "crawl"]
    for step in funnel:
        assert step["in"] == step["kept"] + sum(step["dropped"].values())
    assert all(after["in"] == before["kept"] for before, after in pairwise(funnel[:-1]))
    assert {"http_404", "timeout", "noai", "image_truncated"} <= set(funnel[-1]["dropped"])


@pytest.mark.slow
def test_training_leaves_out_the_planted_copies(work: Path) -> None:
    excluded = set(pq.read_table(work / "duplicates" / "exclusions.parquet")["uid"].to_pylist())
    assert len(excluded) >= 3
    record = json.loads((work / "pretrain" / "config.json").read_text())
    assert record["exclusions_digest"]


@pytest.mark.slow
def test_a_second_run_finds_everything_done(work: Path, fields: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in work.glob("*/*") if path.suffix in (".parquet", ".tar")}
    result = openwit("demo", "demo", "--work", str(work), *fields)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "done before" in line]
    assert len(lines) >= 10
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_another_port_or_a_changed_field_is_told_by_a_dry_run(work: Path, fields: list[str]) -> None:
    result = openwit("build-dataset", "demo", "--work", str(work), *fields, "--dry-run", "--cap.max_pairs", "7")
    assert result.returncode == 0
    rows = {words[0]: words[1:4] for words in map(str.split, result.stderr.splitlines()) if len(words) > 4}
    assert (rows["match"], rows["cap-windows"]) == (["4", "4", "0"], ["1", "0", "1"])


@pytest.mark.slow
def test_a_busy_port_is_named(fields: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        result = openwit("demo-web", "demo", "--work", str(tmp_path), *fields, "--web.port", port)
    assert result.returncode == 2
    assert f"web.port={port}" in result.stderr.splitlines()[-1]
