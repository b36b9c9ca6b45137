from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.shards.exclusions import EXCLUSIONS
from helpers import line_run
from helpers.crawled import Fetched, jpeg, scene, write_shards
from openwit import manifest as manifests
from openwit.shards.notes import pair_uid
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
    table, _, known = capsys.readouterr().err.partition("known from")
    told = {line.split("  ")[0]: line for line in table.splitlines()}
    (from_this_run,) = re.findall(r"this run +((?:.*,\n)*.*)\n", known)
    assert {name.strip() for name in from_this_run.split(",")} == {
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


def url(number: int) -> str:
    return f"http://host.test/{number}.jpg"


def run(work: Path, *options: str) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["remove", "demo", "--work", str(work), *options])
    return int(ended.value.code or 0)


def plant(work: Path) -> None:
    write_shards(work / "shards", [[Fetched(url(n), jpeg(scene(n))) for n in range(4)]])


def left(work: Path) -> list[str]:
    return [row for row in pq.read_table(work / "shards" / "00000.parquet")["url"].to_pylist() if row != "removed:"]


def test_files_of_each_kind_are_combined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path)
    (tmp_path / "uids").write_text(pair_uid(url(0), "an image"))
    (tmp_path / "urls").write_text(url(2) + "\n")
    options = ["--uids", str(tmp_path / "uids"), "--urls", str(tmp_path / "urls"), "--why", "asked"]
    main(["remove", "demo", "--work", str(tmp_path), *options])
    assert "2 images and 2 pairs left 1 shards; 2 entries are left out from now on" in capsys.readouterr().err
    assert left(tmp_path) == [url(1), url(3)]
    assert manifests.read(str(tmp_path / "shards")).rows == 2


def test_the_overlap_is_removed_by_its_exclusions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path)
    assert run(tmp_path, "--exclusions") == 2
    assert f"run openwit dedup-check demo --work {tmp_path} first" in capsys.readouterr().err
    (tmp_path / "duplicates").mkdir()
    uid, other = pair_uid(url(3), "an image"), pair_uid(url(9), "elsewhere")
    columns = [[uid, other], ["birds"] * 2, ["phash"] * 2, [0.9] * 2, [uid, other]]
    pq.write_table(pa.table(columns, schema=EXCLUSIONS), tmp_path / "duplicates" / "exclusions.parquet")
    main(["remove", "demo", "--work", str(tmp_path), "--exclusions"])
    assert left(tmp_path) == [url(0), url(1), url(2)]
    assert pq.read_table(tmp_path / "duplicates" / "exclusions.parquet")["uid"].to_pylist() == [other]


def test_it_asks_what_and_refuses_its_options_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path)
    assert run(tmp_path) == 2
    assert "remove: what? give --uids FILE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["stats", "demo", "--work", str(tmp_path), "--urls", "x"])
    assert "--urls: belongs to remove, not to stats" in capsys.readouterr().err
