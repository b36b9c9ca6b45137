from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import line_run
from pipelines.cli import main


@pytest.fixture
def work(tmp_path: Path) -> Path:
    line_run.prepare(tmp_path / "work")
    return tmp_path / "work"


def openwit(command: str, work: Path, *more: str) -> None:
    fields = {
        "sources.wat_paths": work / "wat.paths",
        "sources.wat_prefix": work,
        "shuffle.num_partitions": 1,
        "cap.max_pairs": 50,
        "executor.workers": 1,
    }
    main([command, "laptop", "--work", str(work), *(f"--{name}={value}" for name, value in fields.items()), *more])


def test_until_selected_ends_before_the_crawl_and_the_report_shows_it(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openwit("build-dataset", work, "--dry-run")
    before = capsys.readouterr().err
    assert "laptop: 3 files of pairs" in before
    assert "nothing was changed" in before
    assert not (work / "matched").exists()

    openwit("build-dataset", work, "--until", "selected")
    said = capsys.readouterr().err
    assert "openwit stats laptop" in said
    assert (work / "selected" / "manifest.json").exists()
    assert not (work / "shards").exists()

    openwit("build-dataset", work, "--dry-run", "--until", "selected")
    lines = capsys.readouterr().err.splitlines()
    told = {line.split("  ")[0]: line for line in lines if line.endswith("this run")}
    assert set(told) == {
        "query table",
        "match",
        "shuffle",
        "distinct",
        "cap-windows",
        "cap-narrow",
        "cap-thresholds",
        "select",
    }
    assert told["match"].split()[1:5] == ["3", "3", "0", "0.00"]

    openwit("stats", work, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["shards"] == 0
    assert report["selected"] == report["queries"]["all"]["selected"] == 150
    assert {name: share["selected"] for name, share in report["queries"]["sources"].items()} == {
        "word": 100,
        "bigram": 50,
    }
    assert report["most_dropped"][0] == {"step": "match", "reason": "no_match", "number": 60, "share": 0.25}
    assert [step["name"] for step in report["funnel"]] == ["match", "shuffle", "distinct", "select"]

    openwit("stats", work)
    assert "nothing crawled yet" in capsys.readouterr().out
    assert (work / "report" / "index.html").exists()


def test_the_report_of_nothing_names_the_command_to_run_first(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        openwit("stats", work)
    assert stopped.value.code == 2
    assert f"has no finished cap/; run openwit build-dataset laptop --work {work} first" in capsys.readouterr().err
