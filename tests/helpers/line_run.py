"""The data pipeline on a small made web, as a program: python -m helpers.line_run WORK PORT KIND WORKERS [ADDRESS]; at
port 0 it ends before the crawl."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen import pipeline
from datagen.config import CandidatesConfig, CapConfig, CrawlConfig, ShuffleConfig, SourcesConfig
from helpers.pairs import image_link, wat_record
from openwit import manifest
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Manifest, Part, PartFile
from openwit.run import Run
from openwit.storage.files import sha256

NUM_IMAGES, NUM_PARTITIONS = 120, 4


def prepare(work: Path, num_pages: int = 10) -> None:
    """A query list, and three WAT files whose pages show NUM_IMAGES images, each twice where there are 10 pages."""
    folder = work / "queries"
    folder.mkdir(parents=True)
    path = folder / "queries.parquet"
    queries = {"query": ["cat", "dog", "red house"], "source": ["word", "word", "bigram"]}
    pq.write_table(pa.table({"query_id": pa.array([0, 1, 2], pa.int32()), **queries}), path)
    file = PartFile(name=path.name, bytes=path.stat().st_size, sha256=sha256(path))
    part = Part(index=0, key="made", rows=3, files=(file,), counts={"in": 3, "kept": 3})
    manifest.write(str(folder), Manifest(stage="queries", version=1, config={}, inputs={}, parts=(part,)))
    words = ["a cat", "the dog", "a red house", "nothing"]
    names = []
    for index in range(3):
        pages = []
        for page in range(num_pages):
            numbers = [(index * 80 + page * 8 + k) % NUM_IMAGES for k in range(8)]
            links = [image_link(f"/ok/{n}", f"{words[n % 4]} number {n} {page % 2}") for n in numbers]
            pages.append(wat_record(f"http://site.example.test/{index}/{page}.html", links))
        (work / f"{index}.warc.wat.gz").write_bytes(b"".join(pages))
        names.append(f"{index}.warc.wat.gz")
    (work / "wat.paths").write_text("\n".join(names) + "\n")


def build(work: Path, port: int, executor: ExecutorConfig) -> Manifest:
    """Everything from the WAT files to the shards, or at port 0 to selected/."""
    with Run(str(work), "test", executor, Log()) as run:
        sources = SourcesConfig(wat_paths=str(work / "wat.paths"), wat_prefix=str(work))
        matched = pipeline.match_candidates(run, sources, CandidatesConfig())
        shuffle = ShuffleConfig(num_partitions=NUM_PARTITIONS, bundle_mb=0.01)
        selected = pipeline.select_pairs(run, matched, shuffle, CapConfig(max_pairs=50))
        if not port:
            return selected
        crawl = CrawlConfig(
            connect_to=(f"*.example.test=127.0.0.1:{port}",), host_requests_per_s=1e4, threads=4, image_px=64
        )
        return pipeline.crawl_images(run, selected, crawl)


if __name__ == "__main__":
    place, port_text, kind, workers, *address = sys.argv[1:]
    if kind not in ("local", "ray"):
        raise SystemExit(f"kind {kind}")
    where = ExecutorConfig(kind=kind, workers=int(workers), address="".join(address))  # type: ignore[arg-type]
    build(Path(place), int(port_text), where)
