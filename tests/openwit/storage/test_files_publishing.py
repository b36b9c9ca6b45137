from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from openwit import storage
from openwit.errors import InputError


class Disk:
    """What is asked of the disk, in order, while the real thing happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        fsync, rename, replace = os.fsync, Path.rename, Path.replace

        def synced(descriptor: int) -> None:
            self.asked.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
            fsync(descriptor)

        def renamed(path: Path, target: str | Path) -> Path:
            self.asked.append(("rename", Path(target).name))
            return (rename if Path(path).is_dir() else replace)(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        monkeypatch.setattr(Path, "replace", renamed)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_publishing_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "part").write_bytes(b"data")
    disk = Disk(monkeypatch)
    storage.publish(tmp_path / "part", str(tmp_path / "there" / "x.bin"))
    assert disk.asked == [("sync", "part"), ("rename", "x.bin"), ("sync", "there")]


def test_a_folder_is_on_the_disk_with_all_in_it_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "scratch" / "model"
    (made / "deep").mkdir(parents=True)
    (made / "deep" / "a").write_bytes(b"a")
    (made / "b").write_bytes(b"b")
    disk = Disk(monkeypatch)
    storage.publish_folder(made, str(tmp_path / "there" / "model"))
    assert {name for _, name in disk.asked[:3]} == {"a", "b", "deep"}
    assert disk.asked[3:] == [("sync", "model"), ("rename", "model"), ("sync", "there")]
    assert (tmp_path / "there/model/deep/a").read_bytes() == b"a"


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_a_published_folder_takes_the_place_of_another(tmp_path: Path, spelling: str) -> None:
    for number in range(2):
        made = tmp_path / "scratch" / "model"
        made.mkdir(parents=True)
        (made / f"{number}").write_bytes(b"")
        storage.publish_folder(made, spelling.format(tmp_path / "model"))
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["1"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_remote_file_is_fetched_once_and_a_local_one_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = "memory://run/search/00000.first64.npy"
    storage.write_bytes(url, b"content")
    path = storage.fetched_once(url, "abc")
    fsspec.filesystem("memory").rm("/run/search/00000.first64.npy")
    assert storage.fetched_once(url, "abc") == path
    assert path.read_bytes() == b"content"
    assert path.suffix == ".npy"
    with pytest.raises(InputError, match="no such file"):
        storage.fetched_once(url, "another")
    local = tmp_path / "local.npy"
    assert storage.fetched_once(str(local), "x") == local


def test_many_who_want_a_file_at_once_wait_for_one_who_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, several = [], threading.Barrier(4)

    def slow(url: str) -> bytes:
        read.append(url)
        return b"content"

    def fetch(_: int) -> bytes:
        several.wait(10)
        return storage.fetched_once("memory://run/table", "many").read_bytes()

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(storage.files, "read_bytes", slow)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(fetch, range(4))) == {b"content"}
    assert len(read) == 1
