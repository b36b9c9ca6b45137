from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.clips import VIT, random_clip
from models.interchange.save import save
from openwit.errors import ConfigError, InputError, WorkError

FORMATS = ("openwit", "openai", "open_clip", "huggingface")


@pytest.mark.parametrize("to", FORMATS)
def test_what_exists_is_never_written_over(tmp_path: Path, to) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="there: exists already; delete it, or give another target"):
        save(random_clip(VIT), tmp_path / "there", to)
    assert (tmp_path / "there").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("to", FORMATS)
def test_only_the_target_is_left_in_its_folder_which_is_made(tmp_path: Path, to) -> None:
    save(random_clip(VIT), tmp_path / "new" / "model.pt", to)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="to=tensorflow: unknown format; there are openwit, openai"):
        save(random_clip(VIT), tmp_path / "model", "tensorflow")  # type: ignore[arg-type]


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"file/model: cannot be written"):
        save(random_clip(VIT), tmp_path / "file" / "model")


FULL_DISK = """
import resource, signal, sys
from helpers.clips import VIT, random_clip
from models.interchange.save import save
from openwit.errors import WorkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = random_clip(VIT)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for to in sys.argv[2:]:
    try:
        save(model, f"{sys.argv[1]}/{to}", to)
    except WorkError as error:
        print(error)
"""


def test_a_disk_that_fills_up_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *FORMATS],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"},
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(FORMATS)
    for line, to in zip(lines, FORMATS, strict=True):
        assert line.startswith(f"{tmp_path}/{to}: cannot be written (")
    assert list(tmp_path.iterdir()) == []
