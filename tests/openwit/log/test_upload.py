from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from helpers.processes import wait_until
from openwit import storage
from openwit.log import upload as log_files
from openwit.log.events import Log
from openwit.log.upload import log_file


@pytest.fixture
def work() -> str:
    return f"memory://{uuid.uuid4().hex}"


def events(work: str) -> list[str]:
    """The names of the events that are kept there."""
    text = storage.read_bytes(f"{work}/log.jsonl").decode()
    return [line.split('"event": "')[1].split('"')[0] for line in text.splitlines()]


def test_the_log_of_a_local_folder_is_written_in_place(tmp_path: Path) -> None:
    with log_file(str(tmp_path / "work")) as path:
        assert path == tmp_path / "work" / "log.jsonl"
        Log(path).event("one")
        assert events(str(tmp_path / "work")) == ["one"]


def test_a_remote_folders_log_goes_on_from_command_to_command(work: str) -> None:
    for name in ("one", "two"):
        with log_file(work) as path:
            Log(path).event(name)
    assert events(work) == ["one", "two"]
    assert not path.exists()


def test_what_is_new_is_uploaded_while_the_command_runs(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "UPLOAD_S", 0.05)
    with log_file(work) as path:
        Log(path).event("one")
        wait_until(lambda: storage.exists(f"{work}/log.jsonl"), 10)
        assert events(work) == ["one"]
        Log(path).event("two")
        wait_until(lambda: len(events(work)) == 2, 10)


def test_a_command_that_fails_leaves_its_events_and_its_own_error(work: str) -> None:
    def fail() -> None:
        with log_file(work) as path:
            Log(path).event("partition_failed")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert events(work) == ["partition_failed"]


def test_a_command_without_events_uploads_nothing(work: str) -> None:
    with log_file(work):
        pass
    assert not storage.exists(f"{work}/log.jsonl")
