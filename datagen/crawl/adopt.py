"""A folder of shards that img2dataset wrote without us: the manifest that makes a data set of it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

from datagen.crawl.fetch.failures import reason
from datagen.shards.rows import ADOPTED as STAGE
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import ConfigError, InputError, WorkError
from openwit.executors.executor import Failure
from openwit.manifest import Manifest, Part, PartFile
from openwit.run import Run
from openwit.storage.tables import read_table

_STATS = re.compile(r"(\d{5,})_stats\.json")


@dataclass(frozen=True)
class _Shard:
    folder: str
    name: str  # NNNNN

    def __str__(self) -> str:
        return f"{STAGE} {self.name}"


def adopt(run: Run) -> Manifest:
    """The manifest of the finished shards in the run's shards/: NNNNN.tar and NNNNN.parquet, which img2dataset has
    finished where there is NNNNN_stats.json. The files stay as they are. Raises InputError where there is none,
    WorkError naming damaged ones, ConfigError where the folder is a crawl of ours."""
    folder = run.folder("shards")
    sizes = storage.list_sizes(folder)
    if manifests.MANIFEST in sizes and manifests.read(folder).stage != STAGE:
        raise ConfigError(f"{folder}: has the manifest of openwit's own crawl already")
    names = [match[1] for match in map(_STATS.fullmatch, sizes) if match]
    unfinished = [name for name in sizes if name.endswith(".tar") and name.removesuffix(".tar") not in names]
    if not names:
        raise InputError(f"{folder}: has no shard that img2dataset finished (NNNNN_stats.json)")
    if run.dry_run:
        run.log.say(f"{STAGE}: {len(names)} shards to read; nothing was changed")
        return Manifest(stage=STAGE, version=1, config={}, inputs={}, parts=())
    parts, failed = [], dict[str, Failure]()
    with run.log.progress(STAGE, total=len(names)) as progress:
        for shard, part in run.executor.map(_read_shard, [_Shard(folder, name) for name in names]):
            if isinstance(part, Failure):
                failed[shard.name] = part
            else:
                parts.append(part)
                progress.advance(counts=part.counts)
    if failed:
        first = min(failed)
        raise WorkError(f"{len(failed)} of {len(names)} shards cannot be adopted; {first}: {failed[first].error}")
    parts.sort(key=lambda part: part.index)
    made = Manifest(stage=STAGE, version=1, config={}, inputs={}, parts=tuple(parts), recipe=run.recipe)
    manifests.write(folder, made)
    run.log.event("stage_done", stage=STAGE, partitions=len(parts), rows=made.rows, unfinished=unfinished)
    if unfinished:
        run.log.say(f"{STAGE}: left out {len(unfinished)} shards without _stats.json: {', '.join(unfinished[:10])}")
    return made


def refuse_adopted(folder: str) -> None:
    """Raises ConfigError where the folder's manifest is of a data set that was adopted: a crawl would delete it."""
    if storage.exists(storage.join(folder, manifests.MANIFEST)) and manifests.read(folder).stage == STAGE:
        raise ConfigError(f"{folder}: was adopted from img2dataset and stays as it is; give another folder with --work")


def _read_shard(shard: _Shard) -> Part:
    table = read_table(storage.join(shard.folder, f"{shard.name}.parquet"), ["status", "error_message"])
    counts: Counter[str] = Counter({"in": len(table), "kept": 0})
    for status, message in zip(table["status"].to_pylist(), table["error_message"].to_pylist(), strict=True):
        counts["kept" if status == "success" else f"dropped.{reason(message or '')}"] += 1
    stats = storage.read_json(storage.join(shard.folder, f"{shard.name}_stats.json"))
    if (stats.get("count"), stats.get("successes")) != (counts["in"], counts["kept"]):
        raise InputError(
            f"{shard.name}_stats.json: counts {stats.get('successes')} images of {stats.get('count')}, "
            f"the table {counts['kept']} of {counts['in']}"
        )
    files = tuple(_file(shard.folder, f"{shard.name}{suffix}") for suffix in (".parquet", ".tar"))
    key = hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()[:32]
    return Part(index=int(shard.name), key=key, rows=counts["kept"], files=files, counts=dict(sorted(counts.items())))


def _file(folder: str, name: str) -> PartFile:
    digest, size = hashlib.sha256(), 0
    with storage.open_input(storage.join(folder, name)) as file, storage.reading(storage.join(folder, name)):
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return PartFile(name=name, bytes=size, sha256=digest.hexdigest())
