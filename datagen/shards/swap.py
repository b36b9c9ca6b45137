"""Rewritten shards put in the place of the old ones, so that whoever reads finds the old data set or the new one.

What will be is written down first (shards.swap.json, beside shards/). Then the old manifest goes, without which nobody
reads; the files are renamed into place; the new manifest ends it. After a kill the same is done again from the record:
renames that were done are passed over, so the outcome is the same.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections import Counter
from dataclasses import dataclass

import msgspec

from openwit import manifest as manifests
from openwit import storage
from openwit.manifest import Manifest, Part

STAGED = "staged"
DATA = (".tar", ".parquet")


@dataclass(frozen=True)
class Swap:
    """What was decided and is not ended yet."""

    folder: str  # relative to the work folder; the rewritten shards are in its staged/
    manifest: Manifest  # that shards/ will have


def decide(shards: str, folder: str, staged: Manifest) -> None:
    """Puts on record, beside shards/, that its parts rewritten in `folder`/staged shall replace those that it has. A
    shard keeps its key: it is still what the crawl made of its inputs, and is not crawled again."""
    old, new = manifests.read(shards), {part.index: part for part in staged.parts if part.files}
    parts = tuple(_merged(part, new[part.index]) if part.index in new else part for part in old.parts)
    decided = Swap(folder.removeprefix(f"{_work(shards)}/"), dataclasses.replace(old, parts=parts))
    storage.write_json(_record(shards), msgspec.to_builtins(decided))


def pending(shards: str) -> str:
    """The folder whose swap was decided and not ended yet; empty where there is none."""
    return storage.join(_work(shards), _read(shards).folder) if storage.exists(_record(shards)) else ""


def _work(shards: str) -> str:
    return posixpath.dirname(shards.rstrip("/"))


def _record(shards: str) -> str:
    return shards.rstrip("/") + ".swap.json"


def _read(shards: str) -> Swap:
    return msgspec.json.decode(storage.read_bytes(_record(shards)), type=Swap)


def _merged(old: Part, new: Part) -> Part:
    """The old partition with the new files, and with the counts of what went."""
    files = tuple(file for file in new.files if file.name.endswith(DATA) and file.name.count(".") == 1)
    gone = {name: number for name, number in new.counts.items() if name.startswith("dropped.")}
    counts = Counter(old.counts) + Counter(gone)
    counts["kept"] -= sum(gone.values())
    for name in ("removed_captions", "merged_captions"):
        if number := new.counts.get(name, 0):
            counts[name] += number
    if "same_bytes" in old.counts:
        counts["same_bytes"] = old.counts["same_bytes"] - new.counts.get("removed_copies", 0)
    kept = {name: counts[name] for name in sorted({*old.counts, *(+counts)})}
    return dataclasses.replace(old, rows=kept["kept"], files=files, counts=kept)


def swap(shards: str) -> None:
    """Carries out what was decided, where anything was; `clear` ends it."""
    folder = pending(shards)
    if not folder:
        return
    staged, decided = storage.join(folder, STAGED), _read(shards).manifest
    storage.delete(storage.join(shards, manifests.MANIFEST))
    waiting, standing = storage.list_sizes(staged), storage.list_sizes(shards)
    changed = {part.index: part for part in manifests.read(staged).parts if part.files}
    for part in decided.parts:
        if part.index not in changed:
            continue
        for name in (*(file.name for file in part.files), f"{part.index:05d}_stats.json"):
            if name in waiting:
                storage.move(storage.join(staged, name), storage.join(shards, name))
        sidecar = f"{part.index:05d}.json"
        if sidecar in standing:  # a data set that was adopted has none
            seconds = storage.read_json(storage.join(shards, sidecar)).get("seconds", 0)
            storage.write_json(storage.join(shards, sidecar), {**msgspec.to_builtins(part), "seconds": seconds})
    manifests.write(shards, decided)


def finish(shards: str) -> None:
    """Ends what was decided, where anything was."""
    if folder := pending(shards):
        swap(shards)
        clear(shards, folder)


def clear(shards: str, folder: str) -> None:
    """Removes the record and what is left of the folder's staged files; the staged manifest goes first."""
    staged = storage.join(folder, STAGED)
    storage.delete(_record(shards))
    storage.delete(storage.join(staged, manifests.MANIFEST))
    for name in storage.list_sizes(staged):
        storage.delete(storage.join(staged, name))
