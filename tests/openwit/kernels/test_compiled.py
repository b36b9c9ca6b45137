from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openwit.kernels import compiled

ROOT = Path(__file__).parents[3]
CALLER = """
from openwit.kernels.compiled import compiled
from inner.callee import twice
from inner.tables import MORE

@compiled
def answer(number: int) -> int:
    return twice(number) + MORE
"""
CALLEE = """
from openwit.kernels.compiled import {decorator}

@{decorator}
def twice(number: int) -> int:
    return {factor} * number
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of a kernel, its callee in another file, and a constant in a third."""
    root = tmp_path / "project"
    (root / "inner").mkdir(parents=True)
    (root / "outer").mkdir()
    (root / "outer/caller.py").write_text(CALLER)
    (root / "inner/callee.py").write_text(CALLEE.format(decorator="compiled", factor=2))
    (root / "inner/tables.py").write_text("MORE = 2\n")
    return root


def run(project: Path, **environment: str) -> tuple[int, int]:
    """What the project's kernel answers in a process of its own, and how many signatures came from a cache."""
    code = "from outer.caller import answer; print(answer(20), sum(answer.stats.cache_hits.values()))"
    paths = {"PYTHONPATH": f"{project}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **paths, **environment}, cwd=project,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    value, hits = done.stdout.split()
    return int(value), int(hits)


@pytest.mark.parametrize("decorator", ["compiled", "inlined"])
def test_an_edit_of_a_callee_or_a_constant_in_another_file_is_seen_by_the_kernels_that_use_it(
    project: Path, decorator: str
) -> None:
    (project / "inner/callee.py").write_text(CALLEE.format(decorator=decorator, factor=2))
    assert run(project) == (42, 0)
    (project / "inner/callee.py").write_text(CALLEE.format(decorator=decorator, factor=3))
    assert run(project) == (62, 0)
    (project / "inner/tables.py").write_text("MORE = 7\n")
    assert run(project) == (67, 0)


def test_a_checkout_that_cannot_be_written_without_a_home_compiles_and_keeps_it_in_a_folder_of_the_users_own(
    project: Path, tmp_path: Path
) -> None:
    (project / "__pycache__").write_text("no folder can be made here")
    (tmp_path / "tmp").mkdir()
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path / "tmp")}
    assert run(project, **nowhere) == (42, 0)
    assert run(project, **nowhere) == (42, 1)
    (own,) = (tmp_path / "tmp").iterdir()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)  # others may have put something there: it is not run
    assert run(project, **nowhere) == (42, 0)


def test_a_folder_that_the_user_names_is_the_place(project: Path, tmp_path: Path) -> None:
    run(project, NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert list((tmp_path / "named").rglob("caller.answer*.nbi"))
    assert not (project / "__pycache__").exists()


def test_of_a_files_kernels_the_latest_versions_are_kept(project: Path) -> None:
    place = project / "__pycache__/kernels/outer.caller"
    for number in range(compiled.KEPT_VERSIONS + 2):
        (place / f"{number}").mkdir(parents=True)
        os.utime(place / f"{number}", (number, number))
    assert compiled.cache_folder.__wrapped__(project / "outer/caller.py", project)
    left = {path.name for path in place.iterdir()}
    assert len(left) == compiled.KEPT_VERSIONS
    assert not {"0", "1", "2"} & left


def test_the_kernels_of_this_project_depend_on_the_files_of_their_callees() -> None:
    found = compiled.sources_of(ROOT / "wit_queries/matching/kernel.py", ROOT)
    names = {path.relative_to(ROOT).as_posix() for path in found}
    assert {"wit_queries/matching/slots.py", "openwit/kernels/utf8.py", "openwit/kernels/buffers.py"} <= names
    found = compiled.sources_of(ROOT / "datagen/sources/link_kernel.py", ROOT)
    assert {ROOT / "datagen/sources/json_kernel.py", ROOT / "openwit/kernels/utf8.py"} <= found


def test_no_kernel_is_compiled_past_the_cache_of_this_project() -> None:
    folders = ("openwit", "models", "wit_queries", "datagen", "train", "pipelines")
    users = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "numba.njit" in path.read_text()]
    assert users == [ROOT / "openwit/kernels/compiled.py"]
