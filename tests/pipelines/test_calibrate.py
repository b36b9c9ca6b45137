from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.crawled import Fetched, jpeg, png, scene, write_eval_set, write_shards
from pipelines.cli import main


def test_the_command_writes_the_thresholds_and_says_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "shards", [[Fetched(f"http://host.test/{n}.jpg", jpeg(scene(n))) for n in range(60)]])
    eval_set = write_eval_set(tmp_path / "e.parquet", {f"k{seed}": png(scene(500 + seed)) for seed in range(12)})
    words = ["calibrate", "demo", "--work", str(tmp_path), "--overlap.eval_sets", f"things={eval_set}"]
    main([*words, "--overlap_executor.kind", "local", "--calibrate.copies", "10", "--calibrate.prevalence", "0.5"])
    written = json.loads((tmp_path / "duplicates" / "calibration.json").read_text())
    assert [entry["name"] for entry in written["sets"]] == ["things"]
    assert written["config"]["prevalence"] == 0.5
    said = capsys.readouterr()
    assert "things: phash" in said.out + said.err  # the log speaks on whichever is the terminal


def test_without_shards_the_command_says_what_to_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["calibrate", "demo", "--work", str(tmp_path)])
    assert exit_code.value.code == 2
    assert f"run openwit build-dataset demo --work {tmp_path} first" in capsys.readouterr().err
