from __future__ import annotations

import io
from pathlib import Path

import pytest

from helpers.floor import SIEVE, Bench, SieveConfig, contents
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Manifest
from openwit.run import NotYet, Run
from openwit.stage import Plan


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "bench").prepare(3)


def carry_out(bench: Bench, work: Path, *, dry_run: bool = False) -> tuple[Manifest, str]:
    said = io.StringIO()
    run = Run(str(work), "demo", ExecutorConfig(workers=1), Log(None, said), dry_run)
    with run:
        try:
            manifest = run.stage(SIEVE, bench.config(), bench.sources(), run.folder("numbers"))
        except NotYet as stage:
            raise NotYet(f"{stage}|{said.getvalue()}") from None
    return manifest, said.getvalue()


def test_a_second_run_finds_the_stage_done_and_says_so(bench: Bench, tmp_path: Path) -> None:
    manifest, _ = carry_out(bench, tmp_path / "work")
    assert manifest.recipe == "demo"
    bench.tries()
    before = contents(tmp_path / "work" / "numbers")
    again, said = carry_out(bench, tmp_path / "work")
    assert again == manifest
    assert said == "sieve: 3/3 done before\n"
    assert bench.tries() == {}
    assert contents(tmp_path / "work" / "numbers") == before


def test_a_dry_run_tells_what_is_to_do_and_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotYet, match=r"^sieve\|sieve: 0 done \(0 rows, 0\.0 MB\), 3 to do; cost unknown"):
        carry_out(bench, tmp_path / "work", dry_run=True)
    assert not (tmp_path / "work").exists()
    assert bench.tries() == {}


def test_a_dry_run_estimates_the_cost_from_what_was_done(bench: Bench, tmp_path: Path) -> None:
    carry_out(bench, tmp_path / "work")
    bench.write_input(1, range(5))
    before = contents(tmp_path / "work" / "numbers")
    with pytest.raises(NotYet, match=r"2 done \(\d+ rows, 0\.0 MB\), 1 to do; about \d+\.\d s of one worker"):
        carry_out(bench, tmp_path / "work", dry_run=True)
    assert contents(tmp_path / "work" / "numbers") == before


def test_a_dry_run_hands_its_plans_to_who_asks_and_says_nothing(bench: Bench, tmp_path: Path) -> None:
    plans: list[Plan[SieveConfig]] = []
    said = io.StringIO()
    run = Run(str(tmp_path / "work"), "demo", ExecutorConfig(), Log(None, said), dry_run=True, on_plan=plans.append)
    with pytest.raises(NotYet, match=r"^sieve$"):
        run.stage(SIEVE, bench.config(), bench.sources(), run.folder("numbers"))
    assert [(plan.stage.name, len(plan.done), len(plan.todo)) for plan in plans] == [("sieve", 0, 3)]
    assert said.getvalue() == ""


def test_a_dry_run_goes_on_past_what_is_done(bench: Bench, tmp_path: Path) -> None:
    manifest, _ = carry_out(bench, tmp_path / "work")
    planned, said = carry_out(bench, tmp_path / "work", dry_run=True)
    assert planned == manifest
    assert "3 done" in said
    assert "0 to do" in said


def test_the_work_folder_is_absolute_so_that_workers_elsewhere_find_it(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run("runs/x", "demo", ExecutorConfig(), Log(None, io.StringIO()))
    assert run.folder("shards", "a.tar") == str(tmp_path / "runs/x/shards/a.tar")
    assert Run("s3://bucket/x", "demo", ExecutorConfig(), Log(None, io.StringIO())).folder("a") == "s3://bucket/x/a"
