from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.crawled import Fetched, jpeg, png, scene, write_eval_set, write_shards
from openwit.shards.notes import pair_uid
from pipelines.cli import main


def url(name: object) -> str:
    return f"http://host.test/{name}.jpg"


@pytest.mark.slow  # workers start twice
def test_copies_and_overlap_are_excluded_together_and_merged_captions_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The overlapping image gets its copy's caption: that pair must be left out of training too."""
    evaluated, other = jpeg(scene(0)), jpeg(scene(1))
    first = [Fetched(url("a"), evaluated, captions=("one",), size=(200, 200)), Fetched(url("b"), evaluated)]
    second = [Fetched(url("c"), other, captions=("three",), size=(200, 200)), Fetched(url("d"), other)]
    write_shards(tmp_path / "shards", [first, second])
    things = write_eval_set(tmp_path / "things.parquet", {"k": png(scene(0))})
    options = [
        "--overlap.eval_sets", f"things={things}",
        "--overlap_executor.kind", "local", "--overlap_executor.workers", "1",
    ]  # fmt: skip
    main(["dedup-within", "demo", "--work", str(tmp_path), *options])
    said = capsys.readouterr().err
    assert "within: 2 of 4 images are copies, in 2 groups" in said
    assert "2 of their captions were merged" in said
    rows = pq.read_table(tmp_path / "duplicates" / "exclusions.parquet").to_pylist()
    found = {(row["uid"], row["reason"]) for row in rows}
    overlapping = {pair_uid(url("a"), "one"), pair_uid(url("a"), "an image"), pair_uid(url("b"), "an image")}
    assert found == {(uid, "phash") for uid in overlapping} | {
        (pair_uid(url(name), "an image"), "within") for name in ("b", "d")
    }


@pytest.mark.slow
def test_the_command_writes_the_thresholds_and_says_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "shards", [[Fetched(f"http://host.test/{n}.jpg", jpeg(scene(n))) for n in range(60)]])
    eval_set = write_eval_set(tmp_path / "e.parquet", {f"k{seed}": png(scene(500 + seed)) for seed in range(12)})
    words = ["calibrate", "demo", "--work", str(tmp_path), "--overlap.eval_sets", f"things={eval_set}"]
    main([*words, "--overlap_executor.kind", "local", "--calibrate.copies", "10", "--calibrate.prevalence", "0.5"])
    written = json.loads((tmp_path / "duplicates" / "calibration.json").read_text())
    assert [entry["name"] for entry in written["sets"]] == ["things"]
    assert written["config"]["prevalence"] == 0.5
    said = capsys.readouterr()
    assert re.search(r"\bthings +phash +0\.\d", said.out + said.err)  # the log speaks on whichever is the terminal


def test_without_shards_the_command_says_what_to_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["calibrate", "demo", "--work", str(tmp_path)])
    assert exit_code.value.code == 2
    assert f"run openwit build-dataset demo --work {tmp_path} first" in capsys.readouterr().err
