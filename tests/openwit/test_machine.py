from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from openwit import machine
from openwit.errors import WorkError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


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
