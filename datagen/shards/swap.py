"""Rewritten shards put in the place of the old ones, so that whoever reads finds the old data set or the new one.

What will be is written down first (decided.json, the new manifest). Then the old manifest goes, without which nobody
reads; the files are renamed into place; the new manifest ends it. After a kill the same is done again from the record:
renames that were done are passed over, so the outcome is the same.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import msgspec

from openwit import manifest as manifests
from openwit import storage
from openwit.manifest import Manifest, Part

DECIDED = "decided.json"
STAGED = "staged"
MERGED = ("duplicates", "within", "merged")  # where captions are merged: the one swap beside those of removed/
DATA = (".tar", ".parquet")


def decide(folder: str, old: Manifest, staged: Manifest) -> Manifest:
    """The data set's manifest with the parts that were rewritten in `folder`/staged, put on record there. A shard keeps
    its key: it is still what the crawl made of its inputs, and is not crawled again."""
    new = {part.index: part for part in staged.parts if part.files}
    parts = tuple(_merged(part, new[part.index]) if part.index in new else part for part in old.parts)
    decided = dataclasses.replace(old, parts=parts)
    storage.write_json(storage.join(folder, DECIDED), msgspec.to_builtins(decided))
    return decided


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


def is_decided(folder: str) -> bool:
    """Whether a swap was decided in the folder, and not ended yet."""
    return storage.exists(storage.join(folder, DECIDED))


def swap(folder: str, shards: str) -> Manifest:
    """Carries out what was decided in the folder; gives the manifest that shards/ has now."""
    url, staged = storage.join(folder, DECIDED), storage.join(folder, STAGED)
    decided = msgspec.json.decode(storage.read_bytes(url), type=Manifest)
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
    return decided


def finish(folder: str, shards: str) -> None:
    """Ends a swap that was decided in the folder, where there is one."""
    if is_decided(folder):
        swap(folder, shards)
        clear(folder)


def clear(folder: str) -> None:
    """Removes the record and what is left of the staged files; the staged manifest goes first."""
    staged = storage.join(folder, STAGED)
    storage.delete(storage.join(folder, DECIDED))
    storage.delete(storage.join(staged, manifests.MANIFEST))
    for name in storage.list_sizes(staged):
        storage.delete(storage.join(staged, name))
