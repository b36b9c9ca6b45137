from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import s3_server
from helpers.patience import patience
from helpers.places import ROOT
from helpers.processes import start
from openwit import storage
from openwit.storage.work_lock import holding


def openwit(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "pipelines", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=patience(120), cwd=cwd, env=environment, check=False
    )


def refused(*words: str, code: int = 2) -> str:
    """The one line that a refused command prints."""
    result = openwit(*words)
    assert result.returncode == code, result
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("openwit: error: ")
    return line


def test_help_lists_the_commands() -> None:
    result = openwit("--help")
    assert result.returncode == 0
    assert all(name in result.stdout for name in ("queries", "build-dataset", "dedup-check", "pretrain", "wit400m"))


def test_a_commands_help_lists_every_field_with_value_type_and_meaning() -> None:
    result = openwit("build-dataset", "demo", "--help")
    assert result.returncode == 0
    assert "--cap.max_pairs" in result.stdout
    assert "pairs that one query selects at the most (int)" in result.stdout


@pytest.mark.parametrize(
    ("command", "option"), [("remove", "--domains FILE"), ("pretrain", "--resume"), ("stats", "--json")]
)
def test_a_commands_help_names_its_own_options_with_a_recipe_and_without(command: str, option: str) -> None:
    for words in ((command, "--help"), (command, "demo", "--help")):
        result = openwit(*words)
        assert result.returncode == 0
        assert f"options of {command}:" in result.stdout
        assert option in result.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("pretrian", "demo"), "pretrian: unknown command; did you mean pretrain?"),
        (("queries",), "queries: which recipe? one of demo,"),
        (("queries", "dmeo"), "dmeo: unknown recipe; did you mean demo?"),
        (("queries", "demo", "--crawl.timout_s", "5"), "--crawl.timout_s: unknown field"),
        (("queries", "demo", "--cap.max_pair", "5"), "did you mean --cap.max_pairs?"),
        (("queries", "demo", "--cap.max_pairs", "many"), "--cap.max_pairs=many: expected int"),
        (("queries", "demo", "--cap.max_pairs"), "--cap.max_pairs: its value is missing"),
        (("queries", "demo", "--cap.max_pairs", "0"), "cap.max_pairs=0: must be at least 1"),
        (("queries", "demo", "--cap.mode=fair"), "--cap.mode=fair: expected one of strict, expected"),
        (("queries", "demo", "--cap", "5"), "--cap: is a section; set one of its fields: --cap.max_pairs"),
        (("queries", "demo", "extra"), "extra: unexpected"),
        (("stats", "demo", "--retry", "dns"), "--retry: belongs to build-dataset, not to stats"),
        (("evaluate", "demo", "--resume"), "--resume: belongs to pretrain and train-detector, not to evaluate"),
        (("stats", "demo", "--s3_endpoint", "http://me:secret@x"), "expected http(s)://host:port, without credentials"),
        (("convert", "model.pt"), "required: TARGET; usage: openwit convert"),
        (("convret",), "convret: unknown command; did you mean convert?"),
        (("--debug-all",), "no command before --debug-all"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(words: tuple[str, ...], part: str) -> None:
    assert part in refused(*words)


def test_a_work_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": "laptop", "format": 2}))
    line = refused("stats", "demo", "--work", str(tmp_path))
    assert "holds recipe laptop, not demo; give another folder with --work DIR" in line


@pytest.mark.parametrize("written", [{}, {"format": 1}, {"format": 3}])
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_work_folder_of_another_version_is_refused_before_anything_is_touched(
    tmp_path: Path, written: dict[str, int], dry_run: tuple[str, ...]
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": "demo", **written}))
    (tmp_path / "matched").mkdir()
    (tmp_path / "matched/00000.parquet").write_bytes(b"of before")
    line = refused("build-dataset", "demo", "--work", str(tmp_path), *dry_run)
    assert f"was made by another version of openwit (format {written.get('format', 1)} of its files" in line
    assert "give another folder with --work DIR, where the shards of this one can be used by --pretrain.data" in line
    assert f"{tmp_path}/shards, or by openwit adopt after copying them to DIR/shards" in line
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.name != ".lock"}
    assert left == {"recipe.json", "matched", "matched/00000.parquet"}


def test_a_new_work_folder_says_its_recipe_and_format(tmp_path: Path) -> None:
    assert openwit("stats", "demo", "--work", str(tmp_path), "--dry-run").returncode == 0
    assert not (tmp_path / "recipe.json").exists()
    refused("stats", "demo", "--work", str(tmp_path))
    assert json.loads((tmp_path / "recipe.json").read_text()) == {"recipe": "demo", "format": 2}


def test_two_commands_in_one_work_folder_are_refused(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another openwit command is running there" in refused("stats", "demo", "--work", str(tmp_path))


def test_two_commands_in_one_folder_of_an_object_store_are_refused_and_events_are_kept_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = s3_server.running()
    server.use(monkeypatch)
    work = f"{server.new_bucket()}/run"
    with holding(work):
        line = refused("stats", "demo", "--work", work)
        assert f"--work {work}: another openwit command (pid {os.getpid()} on " in line
        assert f"or delete {work}/.lock" in line
        assert s3_server.SECRET not in line
    for command in ("stats", "dedup-check"):
        assert "run openwit" in refused(command, "demo", "--work", work)
    events = [json.loads(line) for line in storage.read_bytes(f"{work}/log.jsonl").splitlines()]
    assert [(event["event"], event["command"]) for event in events] == [
        ("command", "stats"),
        ("command", "dedup-check"),
    ]
    assert storage.list_sizes(work).keys() == {"log.jsonl", "recipe.json"}


def test_a_missing_dump_is_named(tmp_path: Path) -> None:
    line = refused("queries", "demo", "--queries.dumps", "/nowhere/dump.xml.bz2", "--work", str(tmp_path))
    assert "/nowhere/dump.xml.bz2: no such file" in line


def test_a_missing_list_of_wat_files_is_named(tmp_path: Path) -> None:
    assert "queries" in refused("build-dataset", "cc_small", "--work", str(tmp_path))


def test_a_work_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = refused("queries", "demo", "--work", str(tmp_path / "file" / "below"), code=1)
    assert "file" in line


def test_training_without_shards_says_which_command_makes_them(tmp_path: Path) -> None:
    assert "build-dataset" in refused("pretrain", "demo", "--work", str(tmp_path))


def test_evaluating_without_a_checkpoint_says_which_command_makes_it(tmp_path: Path) -> None:
    line = refused("evaluate", "demo", "--work", str(tmp_path))
    assert f"run openwit pretrain demo --work {tmp_path} first" in line
    assert "run openwit pretrain demo first" in openwit("evaluate", "demo", cwd=tmp_path).stderr  # in runs/demo


def test_debug_shows_the_traceback() -> None:
    result = openwit("queries", "demo", "--cap.max_pairs", "0", "--debug")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    result = openwit("queries", "demo", "--work", str(work), "--dry-run")
    assert result.returncode == 0
    assert "the invented page views is planned when it is done; nothing was changed" in result.stderr
    assert not work.exists()


def test_a_dry_run_of_the_whole_line_names_what_each_step_waits_for(tmp_path: Path) -> None:
    result = openwit("demo", "--work", str(tmp_path / "work"), "--dry-run")
    assert result.returncode == 0, result.stderr
    waits = [line for line in result.stderr.splitlines() if line.startswith("what follows")]
    assert len(waits) == 7
    assert not (tmp_path / "work").exists()


def test_a_reader_that_has_gone_is_no_success_and_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        command = [sys.executable, "-m", "pipelines", "build-dataset", "demo", "--help"]
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert (result.returncode, result.stderr) == (1, b"")


def test_ctrl_c_ends_a_command_with_130_and_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a store that never answers
        s3_server.S3Server(f"http://127.0.0.1:{silent.getsockname()[1]}").use(monkeypatch)
        process = start(["-m", "pipelines", "stats", "demo", "--work", "s3://bucket/run"], tmp_path / "log")
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        connection.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line == "openwit: error: interrupted; the same command goes on from here"
