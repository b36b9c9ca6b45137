from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import line_run, processes, web
from openwit import manifest
from openwit.errors import InputError
from openwit.executor import ExecutorConfig

FOLDERS = ("matched", "cap/counts", "cap", "selected", "shards")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with web.running(delay_s=0.01) as number:
        yield number


@pytest.fixture(scope="module")
def undisturbed(port: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    line_run.prepare(work)
    line_run.build(work, port, ExecutorConfig(workers=2))
    return content(work)


def content(work: Path) -> dict[str, bytes]:
    """Every file of the data set; sidecars and img2dataset's statistics hold times and are left out."""
    files = {}
    for folder in FOLDERS:
        for path in sorted((work / folder).iterdir()):
            if path.suffix in (".parquet", ".tar") or path.name == "manifest.json":
                files[f"{folder}/{path.name}"] = path.read_bytes()
    return files


def test_shards_hold_every_selected_picture_and_their_lineage(undisturbed: dict[str, bytes]) -> None:
    shards = manifest.msgspec.json.decode(undisturbed["shards/manifest.json"], type=manifest.Manifest)
    selected = manifest.msgspec.json.decode(undisturbed["selected/manifest.json"], type=manifest.Manifest)
    assert shards.rows == selected.rows > 60
    assert set(shards.inputs) == {"queries", "matched", "selected"}
    assert shards.software["img2dataset"].startswith("1.47.")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_byte(
    workers: int, undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    line_run.prepare(tmp_path / "work")
    line_run.build(tmp_path / "work", port, ExecutorConfig(workers=workers))
    assert content(tmp_path / "work") == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bytes_at_any_number_of_actors(
    workers: int, undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    line_run.prepare(tmp_path / "work")
    line_run.build(tmp_path / "work", port, ExecutorConfig(kind="ray", workers=workers))
    assert content(tmp_path / "work") == undisturbed


@pytest.mark.slow
def test_drivers_and_workers_killed_at_any_moment_leave_the_same_data_set(
    undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    work, chance = tmp_path / "work", random.Random(5)
    line_run.prepare(work)
    stages = ["matched/00000.json", "selected/00001.json", "shards/.scratch", "shards/00001.json"]
    for name in stages:
        driver = processes.start(["-m", "helpers.line_run", str(work), str(port), "local", "2"], tmp_path / "log")
        processes.wait_until(lambda name=name, driver=driver: (work / name).exists() or driver.poll() is not None)
        workers = processes.descendants(driver.pid)
        if workers and name == "shards/.scratch":
            processes.kill(chance.choice(workers).pid)  # a lost worker costs no more than its partition's time
            driver.wait(timeout=120)
            assert driver.returncode == 0, (tmp_path / "log").read_text()
            (work / "shards" / "00002.json").unlink()
            continue
        processes.kill(driver.pid)
        driver.wait(timeout=20)
        processes.wait_until(lambda workers=workers: processes.gone(workers), timeout_s=20)
    line_run.build(work, port, ExecutorConfig(workers=2))
    assert content(work) == undisturbed
    assert not list((work / "shards" / ".scratch").glob("*"))


def test_a_missing_query_list_is_named(tmp_path: Path) -> None:
    line_run.prepare(tmp_path / "work")
    (tmp_path / "work" / "queries" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"queries/manifest\.json: no such file"):
        line_run.build(tmp_path / "work", 1, ExecutorConfig())
