from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import CalibrateConfig, OverlapConfig
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.overlap.check import check_overlap, index_sets, merge_sets
from datagen.duplicates.overlap.report import OverlapReport
from datagen.duplicates.overlap.thresholds import Calibration, SetCalibration, choose
from helpers.crawled import Fetched, InThisProcess, altered, jpeg, png, scene, write_eval_set, write_shards
from helpers.descriptors import write_descriptor
from helpers.processes import descendants, kill, wait_until
from openwit import manifest as manifests
from openwit.errors import ConfigError, InputError
from openwit.executors.executor import Executor, ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.shards.notes import pair_uid


def url(name: str) -> str:
    return f"http://host.test/{name}.jpg"


def others(start: int, number: int) -> list[Fetched]:
    return [Fetched(url(f"other{seed}"), jpeg(scene(seed))) for seed in range(start, start + number)]


def check(work: Path, config: OverlapConfig) -> OverlapReport:
    """In this process, which spares the start of workers."""
    with Run(str(work), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess()) as run:
        return check_overlap(run, config)


def check_by(executor: ExecutorConfig, work: Path, config: OverlapConfig) -> OverlapReport:
    with Run(str(work), "tiny", executor, Log(stream=io.StringIO())) as run:
        return check_overlap(run, config)


def things(folder: Path, *seeds: int, name: str = "things") -> str:
    path = write_eval_set(folder / f"{name}.parquet", {f"k{seed}": png(scene(seed)) for seed in seeds})
    return f"{name}={path}"


def plant(work: Path) -> OverlapConfig:
    """Of six things, 0 is in the shards as it is, 1 thrice as altered copies, 2 with two captions, 3–5 not at all;
    one image is damaged."""
    raw = png(scene(0))
    first = [Fetched(url("same"), jpeg(scene(0)), raw=raw), *others(100, 5)]
    first += [Fetched(url(f"copy{n}"), jpeg(altered(scene(1), crop), 60)) for n, crop in enumerate((0.0, 0.02, 0.06))]
    second = [*others(200, 5), Fetched(url("gone"), None), Fetched(url("damaged"), jpeg(scene(7))[:40])]
    second += [Fetched(url("two"), jpeg(altered(scene(2))), captions=("first", "second"))]
    write_shards(work / "shards", [first, second])
    return OverlapConfig(eval_sets=(things(work, 0, 1, 2, 3, 4, 5), things(work, 3, 4, name="clean")))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but those that hold seconds: the partitions' sidecars and notes, and the page that shows them."""
    timed = re.compile(r"\d{5}(_stats)?\.json|seconds\.json|report\.html")
    files = (path for path in folder.rglob("*") if path.is_file() and not timed.fullmatch(path.name))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_the_report_says_exactly_what_was_planted(tmp_path: Path) -> None:
    report = check(tmp_path, plant(tmp_path))
    both = {entry.name: entry for entry in report.sets}
    assert (both["things"].images, both["things"].overlapping, both["things"].pairs) == (6, 3, 5)
    assert both["things"].share == 0.5
    assert both["things"].by_reason["sha256"] == 1
    assert (both["clean"].overlapping, both["clean"].share) == (0, 0.0)
    assert (report.median_share, report.mean_share) == (0.25, 0.25)
    assert (report.images_checked, report.images_overlapping, report.images_undecodable) == (16, 5, 1)
    assert re.search(r"things +6 +3 +50\.0% +5 +1$", "\n".join(report.lines()), re.M)


def test_the_tables_name_pairs_and_every_caption_of_an_overlapping_image(tmp_path: Path) -> None:
    report = check(tmp_path, plant(tmp_path))
    folder = tmp_path / "duplicates"
    rows = pq.read_table(folder / "overlap" / "things.parquet").to_pylist()
    assert [row["eval_key"] for row in rows] == ["k0", "k1", "k1", "k1", "k2"]
    assert rows[0]["uid"] == pair_uid(url("same"), "an image")
    assert (rows[0]["reason"], rows[0]["score"]) == ("sha256", 1.0)
    assert all(row["reason"] == "phash" and 0.88 <= row["score"] <= 1 for row in rows[1:])
    assert len(pq.read_table(folder / "overlap" / "clean.parquet")) == 0
    excluded = pq.read_table(folder / "exclusions.parquet").to_pylist()
    copies = [(name, "an image") for name in ("same", "copy0", "copy1", "copy2")]
    pairs = [*copies, ("two", "first"), ("two", "second")]
    assert [row["uid"] for row in excluded] == sorted(pair_uid(url(name), text) for name, text in pairs)
    assert {row["eval_set"] for row in excluded} == {"things"}
    assert report.excluded_uids == 6


def test_counts_add_up_and_name_the_reasons(tmp_path: Path) -> None:
    check(tmp_path, plant(tmp_path))
    counts = manifests.read(str(tmp_path / "duplicates" / "pairs")).counts
    assert counts["in"] == 16
    assert counts["kept"] == 10
    assert counts["dropped.overlap_sha256"] == 1
    assert counts["dropped.overlap_phash"] == 4
    assert counts["dropped.undecodable"] == 1


@pytest.mark.parametrize("executor", [ExecutorConfig(workers=3), ExecutorConfig(kind="ray", workers=2)])
@pytest.mark.slow  # workers take some seconds to import what they need
def test_the_files_are_the_same_at_any_number_of_workers(
    tmp_path: Path, executor: ExecutorConfig, request: pytest.FixtureRequest
) -> None:
    if executor.kind == "ray":
        request.getfixturevalue("ray_here")
    planted = plant(tmp_path)
    detector = write_descriptor(tmp_path / "coarse.pt")
    config = replace(planted, eval_sets=planted.eval_sets[:1], detector=detector, device="cpu")
    trees = []
    for number in range(2):
        work = tmp_path / f"{number}"
        work.mkdir()
        (work / "shards").symlink_to(tmp_path / "shards")
        if number and executor.kind == "ray":  # whose workers start anew for each stage: for the shards only
            for stage in ("index", "vectors", "search"):
                shutil.copytree(tmp_path / "0" / "duplicates" / stage, work / "duplicates" / stage)
        (check_by(executor, work, config) if number else check(work, config))
        trees.append(tree(work / "duplicates"))
    assert trees[0] == trees[1]
    wanted = {"report.json", "exclusions.parquet", "pairs/00001.parquet", "pairs/00001_near.parquet"}
    assert wanted | {"search/00000.faiss", "vectors/things/00000.parquet"} <= set(trees[0])


@pytest.mark.slow  # Ray takes some seconds to start
def test_the_shard_of_a_killed_ray_actor_is_checked_again(tmp_path: Path, ray_here: Executor) -> None:
    planted = plant(tmp_path)
    config = replace(planted, eval_sets=planted.eval_sets[:1])
    copies = [Fetched(url(f"{n}"), jpeg(scene(n % 40))) for n in range(1500)]
    write_shards(tmp_path / "shards", [copies, [*copies, Fetched(url("damaged"), jpeg(scene(7))[:40])]])
    killed: list[int] = []

    def kill_one_at_work() -> None:
        wait_until(lambda: list((tmp_path / "duplicates" / "pairs" / ".scratch").glob("*/00001.parquet")))
        at_work = [p.pid for p in descendants(os.getpid()) if "_RayWorker.run" in "".join(p.cmdline()[:1])]
        killed.extend(at_work[:1])
        kill(*killed)

    killer = threading.Thread(target=kill_one_at_work)
    killer.start()
    report = check_by(ExecutorConfig(kind="ray", workers=2), tmp_path, config)
    killer.join()
    assert len(killed) == 1
    assert (report.images_checked, report.images_undecodable) == (3001, 1)
    assert report.sets[0].overlapping == 6
    after = tree(tmp_path / "duplicates")
    shutil.rmtree(tmp_path / "duplicates")
    assert check(tmp_path, config) == report
    assert tree(tmp_path / "duplicates") == after


def forms(folder: Path, images: Mapping[str, bytes]) -> dict[str, str]:
    """The same images as an evaluation set of each form."""
    for name, data in images.items():
        (folder / "folder" / name).mkdir(parents=True)
        (folder / "folder" / name / "x.png").write_bytes(data)
    (folder / "wds").mkdir()
    for index, (name, data) in enumerate(images.items()):
        with tarfile.open(folder / "wds" / f"{index}.tar", "w") as tar:
            header = tarfile.TarInfo(f"{name}.png")
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    (folder / "wds" / "nshards.txt").write_text(str(len(images)))
    return {
        "parquet": str(write_eval_set(folder / "e.parquet", images)),
        "folder": str(folder / "folder"),
        "wds": str(folder / "wds"),
        "torchvision": f"torchvision:ImageFolder?root={folder / 'folder'}",
    }


def test_a_set_of_any_form_gives_the_planted_answer(tmp_path: Path) -> None:
    plant(tmp_path)
    images = {f"k{seed}": png(scene(seed)) for seed in range(6)} | {"k9": b"no image"}
    found = forms(tmp_path, images)
    report = check(tmp_path, OverlapConfig(eval_sets=tuple(f"{name}={where}" for name, where in found.items())))
    for entry in report.sets:
        numbers = (entry.images, entry.undecodable, entry.overlapping, entry.pairs, entry.by_reason["sha256"])
        assert numbers == (6, 1, 3, 5, 1), entry.name
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert report.images_overlapping == 5
    keys = pq.read_table(tmp_path / "duplicates" / "overlap" / "folder.parquet")["eval_key"].to_pylist()
    assert set(keys) == {"k0/x.png", "k1/x.png", "k2/x.png"}


def test_the_detector_finds_what_the_hashes_miss_by_each_sets_threshold(tmp_path: Path) -> None:
    cut = scene(0)[13:, 13:]
    write_shards(tmp_path / "shards", [[Fetched(url("cut"), jpeg(cut, 70)), *others(100, 20)]])
    sets = (things(tmp_path, 0, 1, name="lax"), things(tmp_path, 0, 1, name="strict"))
    hashes = OverlapConfig(eval_sets=sets)
    assert [entry.overlapping for entry in check(tmp_path, hashes).sets] == [0, 0]
    detector = write_descriptor(tmp_path / "coarse.pt")
    both = replace(hashes, detector=detector, thresholds=("lax:detector=0.5", "strict:detector=0.95"))
    report = check(tmp_path, both)
    assert [entry.overlapping for entry in report.sets] == [1, 0]
    assert [entry.thresholds["min_score"] for entry in report.sets] == [0.5, 0.95]
    (row,) = pq.read_table(tmp_path / "duplicates" / "overlap" / "lax.parquet").to_pylist()
    assert (row["reason"], row["eval_key"]) == ("detector", "k0")
    assert 0.5 < row["score"] < 0.95
    assert row["detector"] == pytest.approx(row["score"], abs=1e-6)


def test_only_what_a_changed_set_touches_is_done_again(tmp_path: Path) -> None:
    config = replace(plant(tmp_path), detector=write_descriptor(tmp_path / "coarse.pt"))
    check(tmp_path, config)
    stages = [f"{stage}/{name}/00000.parquet" for stage in ("index", "vectors") for name in ("things", "clean")]
    files = [tmp_path / "duplicates" / name for name in [*stages, "pairs/00000.parquet"]]
    before = [path.stat().st_mtime_ns for path in files]
    things(tmp_path, 3, 4, 5, name="clean")
    check(tmp_path, config)
    changed = [path.stat().st_mtime_ns != time for path, time in zip(files, before, strict=True)]
    assert changed == [False, True, False, True, True]


def test_another_detector_embeds_again_and_does_not_index_again(tmp_path: Path) -> None:
    config = replace(plant(tmp_path), detector=write_descriptor(tmp_path / "coarse.pt"))
    check(tmp_path, config)
    files = [tmp_path / "duplicates" / name / "things" / "00000.parquet" for name in ("index", "vectors")]
    before = [path.stat().st_mtime_ns for path in files]
    write_descriptor(tmp_path / "coarse.pt", side=5)
    check(tmp_path, config)
    assert [path.stat().st_mtime_ns != time for path, time in zip(files, before, strict=True)] == [False, True]


def test_calibrated_thresholds_are_used_until_the_set_changes(tmp_path: Path) -> None:
    config = plant(tmp_path)
    check(tmp_path, config)
    sha256 = json.loads((tmp_path / "duplicates" / "report.json").read_text())["sets"][0]["sha256"]
    scores = np.linspace(0.3, 0.6, 200)
    stage = choose("phash", np.full(50, 0.9), scores, 0, CalibrateConfig(prevalence=0.5))
    own = SetCalibration(name="things", sha256=sha256, stages={"phash": stage}, nearest=[])
    found = Calibration(config=CalibrateConfig(), detector="", shards="", assumed="", sets=[own])
    (tmp_path / "duplicates" / "calibration.json").write_bytes(msgspec.json.encode(found))
    report = check(tmp_path, config)
    assert [entry.thresholds["max_distance256"] for entry in report.sets] == [stage.threshold, 0.12]
    assert check(tmp_path, replace(config, calibrated=False)).sets[0].thresholds["max_distance256"] == 0.12
    things(tmp_path, 0, 1)
    assert check(tmp_path, config).sets[0].thresholds["max_distance256"] == 0.12


def test_no_overlap_gives_empty_tables_and_a_page(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [others(100, 4)])
    report = check(tmp_path, OverlapConfig(eval_sets=(things(tmp_path, 0, 1),)))
    assert (report.mean_share, report.images_overlapping, report.excluded_uids) == (0.0, 0, 0)
    assert len(pq.read_table(tmp_path / "duplicates" / "exclusions.parquet")) == 0
    assert "None." in (tmp_path / "duplicates" / "report.html").read_text()


def test_all_overlap_gives_a_share_of_one(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [[Fetched(url(f"{seed}"), jpeg(scene(seed))) for seed in range(4)]])
    report = check(tmp_path, OverlapConfig(eval_sets=(things(tmp_path, 0, 1, 2, 3),)))
    assert (report.sets[0].share, report.images_overlapping, report.images_checked) == (1.0, 4, 4)


def test_an_evaluation_image_that_occurs_1000_times_counts_once(tmp_path: Path) -> None:
    copy = jpeg(scene(0), 70)
    write_shards(tmp_path / "shards", [[Fetched(url(f"{number}"), copy) for number in range(1000)]])
    report = check(tmp_path, OverlapConfig(eval_sets=(things(tmp_path, 0, 1),), gallery_pairs=5))
    entry = report.sets[0]
    assert (entry.overlapping, entry.pairs, report.excluded_uids) == (1, 1000, 1000)
    assert (tmp_path / "duplicates" / "report.html").read_text().count("<figure>") == 5


def test_shards_without_an_image_are_checked_too(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [[Fetched(url("gone"), None)]])
    report = check(tmp_path, OverlapConfig(eval_sets=(things(tmp_path, 0),)))
    assert report.images_checked == 0


def test_a_second_check_does_nothing_and_another_threshold_does_not_index_again(tmp_path: Path) -> None:
    config = plant(tmp_path)
    before = check(tmp_path, config)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "duplicates").rglob("*") if path.is_file()}
    assert check(tmp_path, config) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    strict = check(tmp_path, replace(config, max_distance256=0.01))
    assert strict.images_overlapping < before.images_overlapping
    index = tmp_path / "duplicates" / "index" / "things" / "00000.parquet"
    assert index.stat().st_mtime_ns == times[index]


def test_the_table_of_a_set_that_is_no_longer_asked_for_goes(tmp_path: Path) -> None:
    config = plant(tmp_path)
    check(tmp_path, config)
    check(tmp_path, OverlapConfig(eval_sets=config.eval_sets[:1]))
    assert [path.name for path in (tmp_path / "duplicates" / "overlap").glob("*.parquet")] == ["things.parquet"]


def test_a_shard_that_ends_early_is_named(tmp_path: Path) -> None:
    config = plant(tmp_path)
    tar = tmp_path / "shards" / "00001.tar"
    data = tar.read_bytes()
    for cut in (len(data) // 2, len(data) // 2 + 77):
        tar.write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"00001\.tar: .*build-dataset again"):
            check(tmp_path, config)


def test_the_page_asks_nothing_of_the_network_and_shows_both_images(tmp_path: Path) -> None:
    check(tmp_path, plant(tmp_path))
    page = (tmp_path / "duplicates" / "report.html").read_text()
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w+:", page)
    assert "<script" not in page
    assert page.count("<img") == 10
    assert page.index("score 0.") < page.index("the same bytes")  # the least certain first


def test_the_report_in_json_is_the_report(tmp_path: Path) -> None:
    report = check(tmp_path, plant(tmp_path))
    stored = json.loads((tmp_path / "duplicates" / "report.json").read_text())
    assert stored["sets"][0]["overlapping"] == report.sets[0].overlapping
    assert re.fullmatch(r"[0-9a-f]{64}", stored["sets"][0]["sha256"])
    assert stored["thresholds"]["max_distance256"] == 0.12


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="eval_sets is empty"):
        check(tmp_path, OverlapConfig())
    with pytest.raises(InputError, match="build-dataset makes the shards"):
        check(tmp_path, OverlapConfig(eval_sets=(things(tmp_path, 0),)))
    write_shards(tmp_path / "shards", [others(100, 1)])
    with pytest.raises(InputError, match=r"nowhere\.parquet: no such file"):
        check(tmp_path, OverlapConfig(eval_sets=(f"things={tmp_path}/nowhere.parquet",)))


def run_in(folder: Path) -> Run:
    return Run(str(folder), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess())


def test_a_set_in_many_partitions_is_one_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PART_IMAGES", 4)
    images = {f"k{seed}": png(scene(seed)) for seed in range(10)} | {"bad": b"no image"}
    config = OverlapConfig(eval_sets=(f"things={write_eval_set(tmp_path / 'e.parquet', images)}",))
    with run_in(tmp_path) as run:
        (made,) = index_sets(run, config)
        files = merge_sets(run, config, [made], 0.75)
    assert [part[0].span for part in made.parts] == [(0, 4), (4, 8), (8, 11)]
    assert (made.name, made.images, made.rows, len(made.index), made.vectors) == ("things", 10, 11, 3, ())
    (rows,) = [file.url for file in files if file.url.endswith(".arrow")]
    table = pa.ipc.open_file(rows).read_all()
    assert table["eval_key"].to_pylist() == [f"k{seed}" for seed in range(10)]


def test_a_set_without_an_image_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    path = write_eval_set(tmp_path / "e.parquet", {"bad": b"no image"})
    with run_in(tmp_path) as run, pytest.raises(InputError, match=r"set things holds no image .*\(1 rows\)"):
        index_sets(run, OverlapConfig(eval_sets=(f"things={path}",)))


def test_a_set_without_rows_is_an_input_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": pa.array([], pa.string()), "image": pa.array([], pa.binary())}),
                   tmp_path / "e.parquet")  # fmt: skip
    with run_in(tmp_path) as run, pytest.raises(InputError, match=r"holds no image that can be decoded \(0 rows\)"):
        index_sets(run, OverlapConfig(eval_sets=(f"things={tmp_path}/e.parquet",)))


@pytest.mark.slow
def test_all_missing_sets_are_named_before_anything_is_indexed(tmp_path: Path) -> None:
    path = write_eval_set(tmp_path / "e.parquet", {"a": png(scene(1))})
    with run_in(tmp_path) as run, pytest.raises(InputError, match="gone"):
        index_sets(run, OverlapConfig(eval_sets=(f"a={path}", f"b={tmp_path}/gone")))
    assert not (tmp_path / "duplicates").exists()
