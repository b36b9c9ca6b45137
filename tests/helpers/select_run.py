"""Made matched pairs, and everything from them to selected/, as a program: python -m helpers.select_run WORK KIND
WORKERS."""

from __future__ import annotations

import sys
from pathlib import Path

from datagen import pipeline
from datagen.config import CapConfig, ShuffleConfig
from helpers.pairs import write_matched
from openwit import manifest
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import Manifest, Part, PartFile
from openwit.run import Run
from openwit.storage.files import sha256

FOLDERS = ("shuffled", "distinct", "cap/brackets", "cap/bracketed", "cap", "selected")


def prepare(work: Path, num_files: int = 8, rows: int = 2000) -> Manifest:
    """matched/ with files of pairs, a third of them also in the next file."""
    parts = []
    for index in range(num_files):
        numbers = range(index * rows * 2 // 3, index * rows * 2 // 3 + rows)
        pairs = [(f"http://h{n % 50}.test/{n // 2}.jpg", f"caption {n}", [n % 7, 7 + n % 300]) for n in numbers]
        write_matched(work / "matched", index, pairs)
        path = work / "matched" / f"{index:05d}.parquet"
        file = PartFile(name=path.name, bytes=path.stat().st_size, sha256=sha256(path))
        parts.append(Part(index=index, key="made", rows=rows, files=(file,), counts={"in": rows, "kept": rows}))
    made = Manifest(stage="match", version=1, config={}, inputs={}, parts=tuple(parts))
    manifest.write(str(work / "matched"), made)
    return made


def select(work: Path, executor: ExecutorConfig, num_partitions: int = 6, bundle_mb: float = 0.2) -> Manifest:
    """Everything from matched/ to selected/."""
    with Run(str(work), "test", executor, Log()) as run:
        shuffle = ShuffleConfig(num_partitions=num_partitions, bundle_mb=bundle_mb)
        return pipeline.select_pairs(run, manifest.read(str(work / "matched")), shuffle, CapConfig(max_pairs=100))


def content(work: Path) -> dict[str, bytes]:
    """Every file of the folders but sidecars, which hold times."""
    paths = [path for folder in FOLDERS for path in sorted((work / folder).iterdir())]
    wanted = [path for path in paths if path.suffix in (".parquet", ".arrow") or path.name == "manifest.json"]
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in wanted}


if __name__ == "__main__":
    place, kind, workers = sys.argv[1:]
    if kind not in ("local", "ray"):
        raise SystemExit(f"kind {kind}")
    select(Path(place), ExecutorConfig(kind=kind, workers=int(workers)))  # type: ignore[arg-type]
