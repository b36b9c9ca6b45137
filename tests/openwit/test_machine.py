from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from openwit import machine, storage
from openwit.errors import InputError, WorkError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_remote_file_is_fetched_once_and_a_local_one_is_itself(tmp_path: Path) -> None:
    url = "memory://run/search/00000.first64.npy"
    storage.write_bytes(url, b"content")
    path = machine.fetched_once(url, "abc")
    fsspec.filesystem("memory").rm("/run/search/00000.first64.npy")
    assert machine.fetched_once(url, "abc") == path
    assert path.read_bytes() == b"content"
    assert path.suffix == ".npy"
    with pytest.raises(InputError, match="no such file"):
        machine.fetched_once(url, "another")
    local = tmp_path / "local.npy"
    assert machine.fetched_once(str(local), "x") == local


def test_many_who_want_a_file_at_once_wait_for_one_who_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read, several = [], threading.Barrier(4)

    def slow(url: str) -> bytes:
        read.append(url)
        return b"content"

    def fetch(_: int) -> bytes:
        several.wait(10)
        return machine.fetched_once("memory://run/table", "many").read_bytes()

    monkeypatch.setattr(storage, "read_bytes", slow)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(fetch, range(4))) == {b"content"}
    assert len(read) == 1


def test_the_folder_is_this_users_alone_and_what_others_could_have_made_is_refused(tmp_path: Path) -> None:
    folder = machine.own_folder()
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    with pytest.raises(WorkError, match="others can write to it"):
        machine.own_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkError, match="others can write to it"):
        machine.own_folder()
