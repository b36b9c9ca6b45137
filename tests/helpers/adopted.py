"""Shards as img2dataset writes them by itself, without uids, and the commands on them in this process."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.crawl.adopt import adopt
from datagen.duplicates.config import OverlapConfig
from datagen.duplicates.overlap.check import check_overlap
from datagen.duplicates.overlap.report import OverlapReport
from datagen.duplicates.within.config import WithinConfig
from datagen.duplicates.within.find import WithinSummary, find_within
from datagen.shards.remove import Removal, remove
from datagen.shards.tombstones import Request, read_list
from helpers.crawled import InThisProcess, jpeg, scene
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.shards import Unusable
from openwit.shards.tar import BufferPool, PlainTar
from openwit.storage.readahead import TarFiles
from train.data.dataset import open_data_set
from train.data.examples import ClipExampleBuilder, DecodedCache
from train.data.lanes import LaneRows

Notes = Callable[[int], Mapping[str, object]]
Names = Callable[[str], str]


def write_adopted(
    work: Path, images: Sequence[Sequence[int]], notes: Notes = lambda number: {}, name: Names = str
) -> None:
    """work/shards with an image of each number's scene, a list of numbers a shard. `notes` are columns of the user's
    own, `name` says how a member of that name is called in the tar."""
    folder = work / "shards"
    folder.mkdir(parents=True)
    for index, numbers in enumerate(images):
        rows: list[dict[str, Any]] = []
        with (folder / f"{index:05d}.tar").open("wb") as file:
            tar = PlainTar(file)
            for place, number in enumerate(numbers):
                about = {"url": f"http://host.test/{index}/{number}.jpg", "caption": f"image {index} {number}"}
                key = f"{index:03d}{place:04d}"
                rows.append({**about, **notes(number), "key": key, "status": "success", "error_message": None})
                tar.add(name(f"{key}.jpg"), jpeg(scene(number)))
                tar.add(name(f"{key}.json"), json.dumps(rows[-1]).encode())
                tar.add(name(f"{key}.txt"), about["caption"].encode())
            tar.close()
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{index:05d}.parquet")
        stats = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "status_dict": {}}
        (folder / f"{index:05d}_stats.json").write_text(json.dumps(stats))


def copied(source: Path, work: Path) -> Path:
    """A case's shards as a work folder of the test's own."""
    shutil.copytree(source, work / "shards", copy_function=shutil.copyfile)
    (work / "shards" / "manifest.json").unlink(missing_ok=True)
    return work


def running(work: Path) -> Run:
    return Run(str(work), "tiny", ExecutorConfig(), Log(stream=io.StringIO()), _executor=InThisProcess())


def adopted(work: Path) -> int:
    """How many images the folder holds, now that it has a manifest."""
    with running(work) as run:
        return adopt(run).rows


def within(work: Path) -> WithinSummary:
    with running(work) as run:
        return find_within(run, WithinConfig(num_partitions=3))


def overlap(work: Path, eval_set: Path) -> OverlapReport:
    with running(work) as run:
        return check_overlap(run, OverlapConfig(eval_sets=(f"things={eval_set}",)))


def remove_excluded(work: Path) -> Removal:
    uids = read_list(str(work / "duplicates" / "exclusions.parquet"), "uid")
    with running(work) as run:
        return remove(run, Request(uids=uids), "a test")


def trained(work: Path) -> tuple[dict[str, str], Counter[str], int]:
    """What an epoch uses: key → caption, how many rows it passes over by reason, and how many samples it says that it
    makes."""
    exclusions = work / "duplicates" / "exclusions.parquet"
    data_set = open_data_set((str(work / "shards"),), str(exclusions) if exclusions.exists() else "")
    (lane,) = data_set.lanes(1, 0, 0)
    builder = ClipExampleBuilder(0, 20, 16, data_set.excluded, DecodedCache(0))
    used, skipped = {}, Counter[str]()
    for item in LaneRows(data_set, lane, TarFiles(1, 0), BufferPool()).read(0):
        made = item if isinstance(item, Unusable) else builder.build(item, 0)
        if isinstance(made, Unusable):
            skipped[made.reason] += 1
        else:
            used[made.key] = made.caption
    return used, skipped, data_set.steps_per_epoch(1, 1)
