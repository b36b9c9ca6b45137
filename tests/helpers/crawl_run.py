"""The crawl alone, as a program: python -m helpers.crawl_run WORK PORT KIND WORKERS [REASON,…]; WORK may be s3://."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from datagen import pipeline
from datagen.config import RetryConfig
from datagen.crawl.fetch.failures import reason
from datagen.schemas import SELECTED
from helpers.fetching import crawl_config
from openwit import manifest, storage
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Manifest, Part, PartFile
from openwit.run import Run
from openwit.shards.notes import pair_uid

HOST = "http://pictures.example.test"
SHARD_ROWS = 10


def prepare(work: str, paths: Sequence[str], num_parts: int = 2) -> None:
    """A work folder whose selected/ holds HOST/path of all paths."""
    parts = []
    for index in range(num_parts):
        urls = [f"{HOST}/{path}" for path in paths[index::num_parts]]
        captions = [
            [{"uid": pair_uid(u, "a cat"), "caption": "a cat", "page_url": "", "query_ids": [0], "selected_by": [0]}]
            for u in urls
        ]
        stream = io.BytesIO()
        pq.write_table(pa.table([urls, captions], schema=SELECTED), stream)
        name = f"{index:05d}.parquet"
        storage.write_bytes(storage.join(work, "selected", name), stream.getvalue())
        file = PartFile(name=name, bytes=stream.tell(), sha256=f"{index}")
        counts = {"in": len(urls), "kept": len(urls)}
        parts.append(Part(index=index, key=f"{index}", rows=len(urls), files=(file,), counts=counts))
    file = PartFile(name="queries.parquet", bytes=1, sha256="0")
    queries = Part(index=0, key="0", rows=1, files=(file,), counts={"in": 1, "kept": 1})
    for stage, made in (("queries", [queries]), ("matched", []), ("selected", parts)):
        manifest.write(
            storage.join(work, stage), Manifest(stage=stage, version=1, config={}, inputs={}, parts=tuple(made))
        )


def crawl(work: str, port: int, executor: ExecutorConfig, reasons: Sequence[str] = (), **fields: object) -> Manifest:
    """The crawl of the prepared folder, or a round of retries."""
    config = crawl_config(port, **{"shard_rows": SHARD_ROWS, "image_px": 64, "threads": 4, **fields})
    selected = manifest.read(storage.join(work, "selected"))
    with Run(work, "test", executor, Log()) as run:
        if reasons:
            return pipeline.retry_images(run, selected, config, RetryConfig(reasons=tuple(reasons)))
        return pipeline.crawl_images(run, selected, config)


def content(work: str) -> dict[str, bytes]:
    """Every file of the data set; sidecars and img2dataset's statistics hold times and are left out."""
    folder = storage.join(work, "shards")
    names = [name for name in storage.list_sizes(folder) if name.endswith((".tar", ".parquet", "manifest.json"))]
    return {name: storage.read_bytes(storage.join(folder, name)) for name in names}


def rows(work: str) -> list[dict[str, object]]:
    """The rows of all shards' tables."""
    return [
        row
        for name, data in content(work).items()
        if name.endswith(".parquet")
        for row in pq.read_table(io.BytesIO(data)).to_pylist()
    ]


def last_reasons(work: str) -> dict[str, str | None]:
    """path → why its last row failed; None where it did not."""
    return {
        str(row["url"]).removeprefix(f"{HOST}/"): reason(str(row["error_message"] or "")) if row["reason"] else None
        for row in rows(work)
    }


if __name__ == "__main__":
    place, port_text, kind, workers, *retried = sys.argv[1:]
    where = ExecutorConfig(kind=cast(Literal["local", "ray"], kind), workers=int(workers), attempts=50)
    crawl(place, int(port_text), where, "".join(retried).split(",") if retried else ())
