from __future__ import annotations

import errno
from pathlib import Path

import pytest

from models.interchange.publishing import new_file, new_folder
from openwit.errors import WorkError


@pytest.mark.parametrize("publish", [new_file, new_folder])
def test_nothing_is_there_when_the_writer_fails(tmp_path: Path, publish) -> None:
    def write() -> None:
        with publish(tmp_path / "target") as made:
            (made / "part" if publish is new_folder else made).write_text("half")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_that_names_the_target(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "target"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkError, match=r"target: cannot be written \(No space left on device\); free some space"):
        write()


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with new_folder(tmp_path / "target") as made:
        (made / "a").write_text("1")
        (made / "b").write_text("2")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
