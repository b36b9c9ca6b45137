"""A shard written anew without some samples, or with other captions; every other byte of it stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.shards.rows import repair_hint
from datagen.shards.tombstones import NO_CAPTION, REMOVED_URL
from openwit import storage
from openwit.errors import InputError
from openwit.shards.notes import salvaged_fields
from openwit.shards.samples import split_name
from openwit.shards.tar import BrokenTar, PlainTar, TarEntry, TarReader, padding, resized_header
from openwit.stage import Target

MESSAGE = "removed: left out on request"  # as of a fetch that failed: a word, and a text
Captions = Sequence[Mapping[str, Any]]
GONE: dict[str, object] = {
    "uid": "",
    "url": REMOVED_URL,
    "caption": "",
    "captions": [NO_CAPTION],
    "status": "failed_to_download",
    "error_message": MESSAGE,
    "reason": "removed",
}
KEPT_OF_GONE = ("key", "retry_of")  # the row's place, and whose latest attempt it is
TEXTS = ("txt", "json")
_COPY_BYTES = 1 << 20
_APPLE_DOUBLE = re.compile(r"((?:^|/))\._(?=[^/]*$)")  # what a Mac keeps beside a file, its address for one


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard, and its table as read; `edits` says of a key which captions its sample keeps: none means
    that the sample goes."""

    tar: str
    table: pa.Table
    edits: Mapping[str, Captions]


def rewrite(shard: ShardFiles, target: Target) -> None:
    """Writes NNNNN.tar, NNNNN.parquet and, where the shard has them, NNNNN_stats.json. Raises InputError where the tar
    is damaged or lacks a sample that is to be edited."""
    with storage.open_input(shard.tar) as remote, storage.reading(shard.tar):
        if storage.is_local(shard.tar):
            _rewrite_tar(remote, shard, target.path(".tar"))
        else:  # read from end to end once, not by seeks
            local = target.scratch / "source"
            with local.open("wb") as file:
                shutil.copyfileobj(remote, file, _COPY_BYTES)
            with local.open("rb") as file:
                _rewrite_tar(file, shard, target.path(".tar"))
            local.unlink()
    pq.write_table(edited_table(shard.table, shard.edits), target.path(".parquet"), compression="zstd")
    _rewrite_stats(shard, target)


def edited_table(table: pa.Table, edits: Mapping[str, Captions]) -> pa.Table:
    """The shard's rows, in their order: an edited one with the captions that it keeps, or as a row that was removed."""
    for number, field in enumerate(table.schema):
        if pa.types.is_null(field.type) and field.name in GONE and field.name != "captions":
            table = table.set_column(number, field.name, table.column(number).cast(pa.string()))
    keys = table["key"].to_pylist()
    places = {key: place for place, key in enumerate(keys) if key in edits}
    changed = [
        _edited_row(table.slice(place, 1).to_pylist()[0], edits[key], table.schema) for key, place in places.items()
    ]
    both = pa.concat_tables([table, pa.Table.from_pylist(changed, schema=table.schema)])
    order = list(range(len(table)))
    for number, place in enumerate(places.values()):
        order[place] = len(table) + number
    return both.take(pa.array(order, pa.int64())).combine_chunks()


def _edited_row(row: dict[str, Any], captions: Captions, schema: pa.Schema) -> dict[str, Any]:
    """In the forms that the table has: a data set made elsewhere may hold captions as texts, or numbers as uids."""
    told: dict[str, Any]
    if captions:
        listed = in_form_of(row.get("captions"), captions)
        told = {**row, "uid": captions[0]["uid"], "caption": captions[0]["caption"], "captions": listed}
    else:
        told = {**dict.fromkeys(row), **{name: row[name] for name in KEPT_OF_GONE if name in row}, **GONE}
    if "captions" in row and not has_entries(schema) and not captions:
        told["captions"] = None
    if "uid" in row and not (pa.types.is_string(kind := schema.field("uid").type) or pa.types.is_large_string(kind)):
        told["uid"] = None
    return told


def has_entries(schema: pa.Schema) -> bool:
    """Whether the table's captions are a list of entries with uids, as ours are."""
    kind = schema.field("captions").type if "captions" in schema.names else pa.null()
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return bool(pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("uid") >= 0)


def in_form_of(before: object, captions: Captions) -> object:
    """The captions in the form in which they stood: a list of texts, texts by name, or a list of entries."""
    texts = [entry["caption"] for entry in captions]
    if isinstance(before, list) and before and all(isinstance(entry, str) for entry in before):
        return [text for text in before if text in texts]
    if isinstance(before, Mapping) and not isinstance(before.get("caption"), str):
        return {name: text for name, text in before.items() if text in texts}
    return texts[0] if isinstance(before, str) else list(captions)


def _rewrite_tar(source: IO[bytes], shard: ShardFiles, path: Path) -> None:
    reader, entries = TarReader(source), list[TarEntry]()
    try:
        while (entry := reader.next()) is not None:
            entries.append(entry)
    except BrokenTar as error:
        raise InputError(f"{shard.tar}: is damaged ({error}); {repair_hint(shard.tar)}") from None
    ends = [entry.start for entry in entries[1:]] + [reader.end]
    names = [split_name(_APPLE_DOUBLE.sub(r"\1", entry.name)) for entry in entries]
    keys = _row_keys({name[0] for name in names if name}, shard.edits)
    with path.open("wb") as file:
        out = PlainTar(file)
        for entry, end, name in zip(entries, ends, names, strict=True):
            key = keys.get(name[0]) if name else None
            captions = shard.edits[key] if key is not None else None
            if captions and name and name == split_name(entry.name) and name[1] in TEXTS and not entry.kind:
                source.seek(entry.start)
                headers, content = source.read(entry.place - entry.start), source.read(entry.size)
                content = _edited_member(name[1], content, captions)
                out.copy(resized_header(headers, entry.name, len(content)) + content + padding(len(content)))
            elif captions is None or captions:
                source.seek(entry.start)
                _copy(source, out, end - entry.start)
        out.close()
    if missing := set(shard.edits) - set(keys.values()):
        raise InputError(f"{shard.tar}: lacks the sample {min(missing)} of its table; {repair_hint(shard.tar)}")


def _row_keys(found: set[str], edits: Mapping[str, Captions]) -> dict[str, str]:
    """Of the keys that a tar has, those of edited rows, each with the key that the table knows it by."""
    own = {key: key for key in found if key in edits}
    named = {key: key.rpartition("/")[2] for key in found if key not in own}
    return {**own, **{key: name for key, name in named.items() if name in edits and name not in own}}


def _edited_member(suffix: str, content: bytes, captions: Captions) -> bytes:
    first = captions[0]
    if suffix == "txt":
        return str(first["caption"]).encode("utf-8", "surrogatepass")
    try:
        notes = json.loads(content)
    except (ValueError, RecursionError):
        notes = None
    if not isinstance(notes, dict):
        notes = salvaged_fields(content)
    notes["caption"] = first["caption"]
    if "captions" in notes:
        notes["captions"] = in_form_of(notes["captions"], captions)
    if isinstance(notes.get("uid"), str):
        notes["uid"] = first["uid"]
    return json.dumps(notes, indent=4).encode()  # as img2dataset writes it


def _copy(source: IO[bytes], out: PlainTar, size: int) -> None:
    while size:
        piece = source.read(min(size, _COPY_BYTES))
        assert piece  # all headers were read
        out.copy(piece)
        size -= len(piece)


def _rewrite_stats(shard: ShardFiles, target: Target) -> None:
    url = shard.tar.removesuffix(".tar") + "_stats.json"
    gone = sum(not captions for captions in shard.edits.values())
    if not storage.exists(url):
        return
    stats = storage.read_json(url)
    stats["successes"] -= gone
    stats["failed_to_download"] += gone
    by_status = stats.get("status_dict", {})
    for status, change in (("success", -gone), (MESSAGE, gone)):
        by_status[status] = by_status.get(status, 0) + change
    stats["status_dict"] = {status: number for status, number in by_status.items() if number}
    target.note("_stats.json").write_text(json.dumps(stats, indent=4))
