from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.within.config import WithinConfig
from datagen.duplicates.within.find import WithinSummary, find_within
from datagen.shards.remove import settle
from helpers.crawled import Fetched, InThisProcess, jpeg, png, scene, write_shards
from helpers.descriptors import write_descriptor
from openwit import manifest as manifests
from openwit import storage
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.shards.notes import pair_uid

CONFIG = WithinConfig(num_partitions=3)


def url(name: object) -> str:
    return f"http://host.test/{name}.jpg"


def find(work: Path, config: WithinConfig = CONFIG) -> WithinSummary:
    """In this process, which spares the start of workers."""
    with Run(str(work), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess()) as run:
        return find_within(run, config)


def groups(work: Path) -> dict[str, tuple[list[str], set[str]]]:
    """URL of the kept image → those of its copies, and the reasons for which they are."""
    rows = pq.read_table(work / "duplicates" / "within" / "groups" / "within.parquet").to_pylist()
    kept = {row["key"]: row["url"] for row in rows if row["kept"]}
    assert all(row["group"] in kept for row in rows)
    found: dict[str, tuple[list[str], set[str]]] = {name: ([], set()) for name in kept.values()}
    for row in rows:
        if not row["kept"]:
            found[kept[row["group"]]][0].append(row["url"])
            found[kept[row["group"]]][1].add(row["reason"])
    return {name: (sorted(copies), reasons) for name, (copies, reasons) in found.items()}


def shifted(image: np.ndarray, light: int) -> np.ndarray:
    return np.clip(image.astype(int) + light, 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def plant(work: Path) -> None:
    """Exact copies of 0 in three shards; 1 twice with the same pixels; 2 also as a poor JPEG; 3 to 9 alone."""
    same, pixels, photo = jpeg(scene(0)), png(scene(1)), scene(2)
    lossless = Fetched(url("1b"), png_without_compression(scene(1)), captions=("one b",))
    write_shards(
        work / "shards",
        [
            [Fetched(url("0a"), same, captions=("zero", "null")), Fetched(url("3"), jpeg(scene(3)))],
            [Fetched(url("0b"), same, captions=("zero b",), size=(200, 200)), Fetched(url("1a"), pixels), lossless],
            [
                Fetched(url("0c"), same, captions=("zero", "zero c")),
                Fetched(url("2a"), jpeg(photo, 95), size=(300, 200)),
                Fetched(url("2b"), jpeg(shifted(photo, 6), 60), captions=("two b",)),
                *[Fetched(url(n), jpeg(scene(n))) for n in range(4, 10)],
                Fetched(url("gone"), None),
                Fetched(url("damaged"), jpeg(scene(77))[:50]),
            ],
        ],
    )


def shard_files(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (work / "shards").iterdir() if path.is_file()}


def png_without_compression(image: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()


def captions_of(work: Path, shard: int, key: str) -> list[str]:
    """From the shard's tar, as training reads them."""
    with tarfile.open(work / "shards" / f"{shard:05d}.tar") as tar:
        notes = json.loads(tar.extractfile(f"{key}.json").read())  # type: ignore[union-attr]
    return [entry["caption"] for entry in notes["captions"]]


def test_planted_copies_are_found_by_group_and_the_largest_original_is_kept(tmp_path: Path) -> None:
    plant(tmp_path)
    found = find(tmp_path)
    by_uid = min(("1a", "1b"), key=lambda name: pair_uid(url(name), "one b" if name == "1b" else "an image"))
    other = {"1a": "1b", "1b": "1a"}[by_uid]
    assert groups(tmp_path) == {
        url("0b"): ([url("0a"), url("0c")], {"sha256"}),
        url(by_uid): ([url(other)], {"pixels"}),
        url("2a"): ([url("2b")], {"phash"}),
    }
    assert (found.images, found.groups, found.copies, found.not_compared) == (15, 3, 4, 0)


def test_captions_of_the_copies_are_merged_into_what_is_kept_each_text_once_as_its_own_pair(tmp_path: Path) -> None:
    plant(tmp_path)
    before = manifests.read(str(tmp_path / "shards"))
    found = find(tmp_path)
    assert captions_of(tmp_path, 1, "000010000") == ["zero b", "zero", "null", "zero c"]
    assert captions_of(tmp_path, 2, "000020001") == ["an image", "two b"]
    row = pq.read_table(tmp_path / "shards" / "00001.parquet").to_pylist()[0]
    assert [entry["uid"] for entry in row["captions"]] == [
        pair_uid(url("0b"), text) for text in ("zero b", "zero", "null", "zero c")
    ]
    after = manifests.read(str(tmp_path / "shards"))
    assert after.parts[0] == before.parts[0]
    assert [part.rows for part in after.parts] == [part.rows for part in before.parts]
    assert found.merged_captions == after.counts["merged_captions"] == 5


def test_training_leaves_out_the_copies_and_not_the_merged_captions(tmp_path: Path) -> None:
    plant(tmp_path)
    find(tmp_path)
    rows = pq.read_table(tmp_path / "duplicates" / "exclusions.parquet").to_pylist()
    assert {row["reason"] for row in rows} == {"within"}
    uids = {row["uid"] for row in rows}
    assert {pair_uid(url("0a"), text) for text in ("zero", "null")} < uids
    kept = pq.read_table(tmp_path / "shards" / "00001.parquet").to_pylist()[0]["captions"]
    assert not {entry["uid"] for entry in kept} & uids


def test_a_second_run_changes_nothing_more(tmp_path: Path) -> None:
    plant(tmp_path)
    first = find(tmp_path)
    before = shard_files(tmp_path)
    again = find(tmp_path)
    assert shard_files(tmp_path) == before
    assert again == dataclasses.replace(first, merged_captions=0)


def test_a_chain_of_copies_is_one_group(tmp_path: Path) -> None:
    """Neither end is near the other, each is near the middle."""
    start, end = scene(1).astype(float), scene(2).astype(float)
    steps = [jpeg(((1 - t) * start + t * end).astype(np.uint8), 95) for t in np.linspace(0, 1, 25)]
    write_shards(tmp_path / "shards", [[Fetched(url(n), step) for n, step in enumerate(steps)]])
    find(tmp_path, dataclasses.replace(CONFIG, band_bits=8, num_bands=40))
    ((_, (copies, _)),) = groups(tmp_path).items()
    assert len(copies) == 24
    ends = tmp_path / "ends"
    write_shards(ends / "shards", [[Fetched(url(0), steps[0]), Fetched(url(24), steps[-1])]])
    assert find(ends, dataclasses.replace(CONFIG, band_bits=8, num_bands=40)).copies == 0


def test_an_image_that_occurs_600_times_is_one_group_and_a_large_band_is_bounded_and_counted(tmp_path: Path) -> None:
    same = [Fetched(url(f"same{n}"), jpeg(scene(0)), captions=(f"caption {n % 7}",)) for n in range(600)]
    dark = [Fetched(url(f"dark{n}"), jpeg(shifted(scene(0), -n), 90)) for n in range(1, 12)]
    write_shards(tmp_path / "shards", [same, dark])
    found = find(tmp_path, dataclasses.replace(CONFIG, max_bucket=2))
    assert (found.groups, found.copies) == (1, 610)
    assert found.merged_captions == 7
    assert found.not_compared > 0


def test_exact_copies_alone_where_near_ones_are_not_asked_for(tmp_path: Path) -> None:
    plant(tmp_path)
    assert find(tmp_path, dataclasses.replace(CONFIG, near=False, pixels=False)).copies == 2
    assert find(tmp_path, dataclasses.replace(CONFIG, near=False)).copies == 3


def test_without_merging_the_shards_stay_as_they_are(tmp_path: Path) -> None:
    plant(tmp_path)
    before = shard_files(tmp_path)
    assert find(tmp_path, dataclasses.replace(CONFIG, merge_captions=False)).merged_captions == 0
    assert shard_files(tmp_path) == before


def test_shards_without_a_copy_or_an_image_have_no_groups(tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [[Fetched(url(n), jpeg(scene(n))) for n in range(3)], [Fetched(url("x"), None)]])
    assert (find(tmp_path).copies, groups(tmp_path)) == (0, {})


def test_the_files_are_the_same_at_any_number_of_workers_and_partitions(tmp_path: Path) -> None:
    trees = []
    for workers, partitions in ((0, 3), (0, 5), (3, 3)):
        work = tmp_path / f"{workers}-{partitions}"
        plant(work)
        config = dataclasses.replace(CONFIG, num_partitions=partitions)
        here = None if workers else InThisProcess()
        executor = ExecutorConfig(workers=max(workers, 1))
        with Run(str(work), "tiny", executor, Log(stream=io.StringIO()), _executor=here) as run:
            find_within(run, config)
        files = [work / "duplicates" / "exclusions.parquet", *work.glob("duplicates/within/groups/within.parquet")]
        trees.append(shard_files(work) | {path.name: path.read_bytes() for path in files})
    assert trees[0] == trees[1] == trees[2]


def test_a_merge_that_a_kill_interrupted_is_ended_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Nothing catches it."""

    def die(*arguments: object) -> None:
        raise Killed

    plain = tmp_path / "plain"
    plant(tmp_path)
    plant(plain)
    find(plain)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "move", die)
        with pytest.raises(Killed):
            find(tmp_path)
    assert not (tmp_path / "shards" / "manifest.json").exists()
    with Run(str(tmp_path), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess()) as run:
        settle(run)
    assert shard_files(tmp_path) == shard_files(plain)


def test_a_detector_decides_on_pairs_of_a_band(tmp_path: Path) -> None:
    plant(tmp_path)
    config = dataclasses.replace(CONFIG, detector=write_descriptor(tmp_path / "detector.pt"), min_score=0.9)
    find(tmp_path, config)
    assert groups(tmp_path)[url("2a")] == ([url("2b")], {"detector"})
    find(tmp_path, dataclasses.replace(config, min_score=1.0))
    assert url("2a") not in groups(tmp_path)
