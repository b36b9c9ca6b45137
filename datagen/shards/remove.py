"""Takedown: the shards without what a request names, and a log of what went, when and why."""

from __future__ import annotations

import datetime
import functools
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.shards import swap as swaps
from datagen.shards.exclusions import forget_removed
from datagen.shards.rewrite import Captions, ShardFiles, rewrite
from datagen.shards.rows import caption_rows
from datagen.shards.tombstones import Request, read_request, request_folders, write_request
from openwit import manifest as manifests
from openwit import storage
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.shards.notes import place_uid
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.tables import read_table

REMOVED = "removed"  # the folder of all requests
LOG = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("shard", pa.string()),
        ("key", pa.string()),
        ("by", pa.string()),  # uid, url or domain
        ("sample_gone", pa.bool_()),  # else it keeps other captions
    ]
)


@dataclass(frozen=True, kw_only=True)
class RemoveConfig:
    """Nothing but the request decides what goes."""


@dataclass(frozen=True)
class Removal:
    """What a request came to."""

    shards: int  # that were written anew
    samples: int  # images with all their captions
    captions: int  # pairs, those of the samples included

    def __str__(self) -> str:
        return f"{self.samples:,} images and {self.captions:,} pairs left {self.shards:,} shards"


def remove(run: Run, request: Request, why: str) -> Removal:
    """Takes what the request names out of shards/, and keeps it out. A request that a kill interrupted is finished
    first. Raises InputError where there are no shards, or where one is damaged."""
    before = settle(run)
    if before is not None and before[0] == request:
        return before[1]
    shards = _shards(run)
    if run.dry_run:
        run.log.say(
            f"remove: {len(request):,} entries to look for in {len(shards.parts):,} shards; nothing was changed"
        )
        return Removal(0, 0, 0)
    folder = run.folder(REMOVED, f"{len(request_folders(run.folder(REMOVED))):04d}")
    about = {"why": why, "when": _now(), "uids": len(request.uids), "urls": len(request.urls)}
    storage.write_json(storage.join(folder, "request.json"), {**about, "domains": sorted(request.domains)})
    write_request(folder, request)
    return _carry_out(run, folder)


def settle(run: Run) -> tuple[Request, Removal] | None:
    """Finishes what a kill interrupted: a swap, whoever decided it, and a request, which is given back with what it
    came to."""
    if run.dry_run:
        return None
    folders = request_folders(run.folder(REMOVED))
    begun = folders[-1] if folders and not storage.exists(storage.join(folders[-1], "done.json")) else ""
    if swaps.pending(run.folder("shards")) != begun:
        swaps.finish(run.folder("shards"))
    if not begun:
        return None
    return read_request(storage.join(begun, "request.parquet")), _carry_out(run, begun)


def _carry_out(run: Run, folder: str) -> Removal:
    shards = run.folder("shards")
    if not swaps.pending(shards):
        staged = _stage(run, folder, _shards(run))
        storage.write_bytes(storage.join(folder, "removed.parquet"), _log(storage.join(folder, swaps.STAGED), staged))
        if any(part.files for part in staged.parts):
            swaps.decide(shards, folder, staged)
    swaps.swap(shards)
    gone = read_table(storage.join(folder, "removed.parquet"))
    keys = {
        key for key, is_gone in zip(gone["key"].to_pylist(), gone["sample_gone"].to_pylist(), strict=True) if is_gone
    }
    removal = Removal(len(set(gone["shard"].to_pylist())), len(keys), len(gone))
    done = {"when": _now(), "shards": removal.shards, "samples": removal.samples, "captions": removal.captions}
    storage.write_json(storage.join(folder, "done.json"), {**done, "data": manifests.read(shards).digest})
    swaps.clear(shards, folder)
    forget_removed(run.folder("duplicates"))  # last: the request is carried out, whatever is wrong with that file
    return removal


def _stage(run: Run, folder: str, shards: Manifest) -> Manifest:
    request = (Input.outside(storage.join(folder, "request.parquet")),)
    sources = [
        Source(
            index=part.index,
            inputs={
                "tar": (Input.made(run.folder("shards"), part.file(".tar")),),
                "parquet": (Input.made(run.folder("shards"), part.file(".parquet")),),
                "request": request,
            },
        )
        for part in shards.parts
    ]
    return run.stage(STAGE, RemoveConfig(), sources, storage.join(folder, swaps.STAGED))


def process(config: RemoveConfig, source: Source, target: Target) -> Counts:
    """Writes the shard anew (see datagen.shards.rewrite) with NNNNN.log.parquet (columns LOG) where the request names
    any of its pairs, else nothing. Counts samples: kept, or `dropped.removed`; and `removed_captions` of kept ones."""
    request = _request(source.url("request"), source.input("request").identity)
    table = read_table(source.url("parquet"))
    counts: Counts = Counter({"in": 0, "kept": 0})
    edits: dict[str, Captions] = {}
    log: list[dict[str, object]] = []
    for row in caption_rows(source.url("parquet"), table, ("duplicate_of",)):
        if row["status"] != "success":
            continue
        counts["in"] += 1
        found = _named(row, request, target.name)
        edit = [entry for entry in row["captions"] if entry["uid"] not in found]
        if not found:
            counts["kept"] += 1
            continue
        edits[row["key"]] = edit
        counts["kept" if edit else "dropped.removed"] += 1
        counts["removed_captions"] += len(found) if edit else 0
        counts["removed_copies"] += bool(not edit and row.get("duplicate_of"))
        common = {"url": row["url"], "shard": target.name, "key": row["key"], "sample_gone": not edit}
        log += [{**common, "uid": uid, "by": by} for uid, by in found.items()]
    if edits:
        rewrite(ShardFiles(source.url("tar"), table, edits), target)
        pq.write_table(pa.Table.from_pylist(log, schema=LOG), target.path(".log.parquet"), compression="zstd")
    return counts


STAGE: Stage[RemoveConfig] = Stage("remove", 2, process)


def _named(row: Mapping[str, Any], request: Request, shard: str) -> dict[str, str]:
    """The uids of the row's pairs that the request names, and by what: the uid may be the one that a sample without
    key.json has."""
    whole, key = request.names_image(row["url"]), str(row["key"])
    return {
        entry["uid"]: whole or "uid"
        for entry in row["captions"]
        if whole or not {entry["uid"], place_uid(shard, key, entry["caption"])}.isdisjoint(request.uids)
    }


@functools.lru_cache(maxsize=1)
def _request(url: str, identity: str) -> Request:
    """The request, read once a worker."""
    return read_request(url)


def _log(staged_folder: str, staged: Manifest) -> bytes:
    names = [file.name for part in staged.parts for file in part.files if file.name.endswith(".log.parquet")]
    tables = [LOG.empty_table(), *(read_table(storage.join(staged_folder, name)) for name in names)]
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), buffer, compression="zstd")
    return buffer.getvalue()


def _shards(run: Run) -> Manifest:
    try:
        return manifests.read(run.folder("shards"))
    except InputError as error:
        raise InputError(f"{error}; build-dataset makes the shards") from None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
