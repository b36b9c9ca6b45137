from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen import pipeline
from helpers import line_run, processes, select_run, web
from openwit import manifest
from openwit.errors import InputError
from openwit.executors.executor import Executor, ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Part, PartFile
from openwit.run import Run

FOLDERS = ("matched", *select_run.FOLDERS, "shards")


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
        for path in sorted((work / folder).glob("*")):
            if path.suffix in (".parquet", ".arrow", ".tar") or path.name == "manifest.json":
                files[f"{folder}/{path.name}"] = path.read_bytes()
    return files


@pytest.mark.slow
def test_shards_hold_every_selected_image_and_their_lineage(undisturbed: dict[str, bytes]) -> None:
    shards = msgspec.json.decode(undisturbed["shards/manifest.json"], type=manifest.Manifest)
    selected = msgspec.json.decode(undisturbed["selected/manifest.json"], type=manifest.Manifest)
    assert shards.rows == selected.rows > 60
    assert set(shards.inputs) == {"queries", "matched", "selected", "limiter", "removed"}
    assert shards.software["img2dataset"].startswith("1.47.")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_byte(
    workers: int, undisturbed: dict[str, bytes], port: int, tmp_path: Path
) -> None:
    line_run.prepare(tmp_path / "work")
    line_run.build(tmp_path / "work", port, ExecutorConfig(workers=workers))
    assert content(tmp_path / "work") == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bytes_at_any_number_of_actors(
    workers: int, undisturbed: dict[str, bytes], port: int, ray_here: Executor, tmp_path: Path
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
        processes.wait_until(lambda: (work / name).exists() or driver.poll() is not None)  # noqa: B023 - it is called at once
        workers = processes.descendants(driver.pid)
        if workers and name == "shards/.scratch":
            processes.kill(chance.choice(workers).pid)  # a lost worker costs no more than its partition's time
            driver.wait(timeout=120)
            assert driver.returncode == 0, (tmp_path / "log").read_text()
            (work / "shards" / "00002.json").unlink()
            continue
        processes.kill(driver.pid)
        driver.wait(timeout=20)
        processes.wait_until(lambda: processes.gone(workers), timeout_s=20)  # noqa: B023 - it is called at once
    line_run.build(work, port, ExecutorConfig(workers=2))
    assert content(work) == undisturbed
    assert not list((work / "shards" / ".scratch").glob("*"))


NUM_PAGES = 1500  # a WAT file that takes a while


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run finds in larger WAT files, up to selected/."""
    work = tmp_path_factory.mktemp("found") / "work"
    line_run.prepare(work, NUM_PAGES)
    line_run.build(work, 0, ExecutorConfig(workers=1))
    return content(work)


@pytest.mark.slow
def test_a_worker_and_the_driver_killed_while_matching_leave_the_same_pairs(
    found: dict[str, bytes], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    line_run.prepare(work, NUM_PAGES)
    driver = processes.start(["-m", "helpers.line_run", str(work), "0", "local", "2"], tmp_path / "log")
    processes.wait_until(lambda: any((work / "matched" / ".scratch").glob("*")))
    processes.kill(processes.descendants(driver.pid)[-1].pid)
    processes.wait_until(lambda: any((work / "matched").glob("0*.json")))
    assert not (work / "matched" / "manifest.json").exists()
    workers = processes.descendants(driver.pid)
    processes.kill(driver.pid)
    driver.wait(timeout=20)
    processes.wait_until(lambda: processes.gone(workers), timeout_s=20)
    line_run.build(work, 0, ExecutorConfig(workers=2))
    assert content(work) == found


@pytest.mark.slow
def test_a_ray_node_lost_in_the_middle_of_the_line_loses_no_pair(found: dict[str, bytes], tmp_path: Path) -> None:
    """Two nodes of one CPU on this machine; the second goes while it matches, the rest is done by the first."""
    work, log = tmp_path / "work", tmp_path / "log"
    line_run.prepare(work, NUM_PAGES)
    cluster = processes.start(["-m", "helpers.ray_cluster", str(tmp_path), "driver"], log)
    processes.wait_until((tmp_path / "address").exists)
    address = (tmp_path / "address").read_text()
    driver = processes.start(["-m", "helpers.line_run", str(work), "0", "ray", "2", address], log)
    processes.wait_until(lambda: any((work / "matched" / ".scratch").glob("*")))
    (tmp_path / "remove").touch()
    processes.wait_until((tmp_path / "removed").exists)
    assert not (work / "selected" / "manifest.json").exists()
    assert driver.wait(timeout=150) == 0, log.read_text()
    assert content(work) == found
    below = processes.descendants(cluster.pid)
    (tmp_path / "stop").touch()
    assert cluster.wait(timeout=60) == 0
    processes.wait_until(lambda: processes.gone(below))


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    work = tmp_path_factory.mktemp("selected")
    select_run.prepare(work)
    select_run.select(work, ExecutorConfig(workers=2))
    return select_run.content(work)


def test_the_number_of_bundles_and_partitions_changes_no_selected_pair(
    selected: dict[str, bytes], tmp_path: Path
) -> None:
    select_run.prepare(tmp_path)
    select_run.select(tmp_path, ExecutorConfig(workers=1), num_partitions=1, bundle_mb=100)
    rows = pq.read_table(tmp_path / "selected" / "00000.parquet").to_pylist()
    parts = [pq.read_table(io.BytesIO(data)) for name, data in selected.items() if re.match("selected/.*parquet", name)]
    assert len(parts) == 6
    assert sum(name.startswith("shuffled/") and name.endswith(".texts.arrow") for name in selected) > 2
    assert sorted(pa.concat_tables(parts).to_pylist(), key=lambda row: row["url"]) == sorted(
        rows, key=lambda row: row["url"]
    )


@pytest.mark.slow
def test_a_worker_and_then_the_driver_killed_in_the_middle_of_each_stage_leave_the_same_pairs(
    selected: dict[str, bytes], tmp_path: Path
) -> None:
    work, chance = tmp_path / "work", random.Random(5)
    select_run.prepare(work)
    for folder in ("shuffled", "distinct", "cap/bracketed", "selected"):
        driver = processes.start(["-m", "helpers.select_run", str(work), "local", "2"], tmp_path / "log")
        processes.wait_until(lambda: any((work / folder / ".scratch").glob("*/*")))  # noqa: B023 - it is called at once
        workers = [entry for entry in processes.descendants(driver.pid) if "spawn_main" in " ".join(entry.cmdline())]
        processes.kill(chance.choice(workers).pid)
        processes.wait_until(lambda: any((work / folder).glob("0*.json")))  # noqa: B023 - it is called at once
        assert driver.poll() is None, (tmp_path / "log").read_text()
        workers = processes.descendants(driver.pid)
        processes.kill(driver.pid)
        driver.wait(timeout=20)
        processes.wait_until(lambda: processes.gone(workers), timeout_s=20)  # noqa: B023 - it is called at once
        assert not (work / folder / "manifest.json").exists()
    select_run.select(work, ExecutorConfig(workers=2))
    assert select_run.content(work) == selected


def test_a_selected_partition_is_crawled_in_shards_of_at_most_so_many_rows(tmp_path: Path) -> None:
    parts = [Part(index=i, key="", rows=rows, counts={}, files=(file(i),)) for i, rows in enumerate([7, 0, 3, 10])]
    made = manifest.Manifest(stage="select", version=1, config={}, inputs={}, parts=tuple(parts))
    with Run(str(tmp_path), "test", ExecutorConfig(), Log()) as run:
        sources = pipeline.crawl_sources(run, made, 3)
    assert [source.index for source in sources] == list(range(8))
    spans = [(source.input("selected").url[-13:-8], source.input("selected").span) for source in sources]
    assert spans == [
        ("00000", (0, 2)), ("00000", (2, 4)), ("00000", (4, 7)), ("00002", (0, 3)),
        ("00003", (0, 2)), ("00003", (2, 5)), ("00003", (5, 7)), ("00003", (7, 10)),
    ]  # fmt: skip


def file(index: int) -> PartFile:
    return PartFile(name=f"{index:05d}.parquet", bytes=1, sha256=f"sha{index}")


def test_a_missing_query_list_is_named(tmp_path: Path) -> None:
    line_run.prepare(tmp_path / "work")
    (tmp_path / "work" / "queries" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"queries/manifest\.json: no such file"):
        line_run.build(tmp_path / "work", 1, ExecutorConfig())
