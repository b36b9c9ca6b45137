"""A shard written anew without some samples, or with other captions; every other byte of it stays as it is."""

from __future__ import annotations

import copy
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.schemas import pair_uid
from datagen.shards.tombstones import NO_CAPTION, REMOVED_URL
from openwit import storage
from openwit.errors import InputError
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
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard, and its table as read; `edits` says of a key which captions its sample keeps: none means
    that the sample goes."""

    tar: str
    table: pa.Table
    edits: Mapping[str, Captions]


def caption_rows(table: pa.Table, more: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The shard's rows with key, url, status and captions, and of the columns `more` those that it has. A table without
    captions (img2dataset's own) has one a row, whose uid is worked out."""
    wanted = ("key", "url", "caption", "captions", "status", *more)
    rows: list[dict[str, Any]] = table.select([name for name in wanted if name in table.column_names]).to_pylist()
    for row in rows:
        if not row.get("captions"):
            caption = row.get("caption") or ""
            row["captions"] = [{"uid": pair_uid(row["url"] or "", caption), "caption": caption}]
    return rows


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
    keys = table["key"].to_pylist()
    places = {key: place for place, key in enumerate(keys) if key in edits}
    changed = [_edited_row(table.slice(place, 1).to_pylist()[0], edits[key]) for key, place in places.items()]
    both = pa.concat_tables([table, pa.Table.from_pylist(changed, schema=table.schema)])
    order = list(range(len(table)))
    for number, place in enumerate(places.values()):
        order[place] = len(table) + number
    return both.take(pa.array(order, pa.int64())).combine_chunks()


def _edited_row(row: dict[str, Any], captions: Captions) -> dict[str, Any]:
    if captions:
        first = captions[0]
        return {**row, "uid": first["uid"], "caption": first["caption"], "captions": list(captions)}
    return {**dict.fromkeys(row), **{name: row[name] for name in KEPT_OF_GONE if name in row}, **GONE}


def _rewrite_tar(source: IO[bytes], shard: ShardFiles, path: Path) -> None:
    found = set()
    try:
        with tarfile.open(fileobj=source, mode="r:") as tar, path.open("wb") as out:
            members = tar.getmembers()
            ends = [member.offset for member in members[1:]] + [_end(member) for member in members[-1:]]
            for member, end in zip(members, ends, strict=True):
                key, _, suffix = member.name.rpartition("/")[2].partition(".")
                if key not in shard.edits:
                    source.seek(member.offset)
                    _copy(source, out, end - member.offset)
                    continue
                found.add(key)
                if captions := shard.edits[key]:
                    file = tar.extractfile(member)
                    assert file is not None
                    _write_member(out, member, _edited_member(suffix, file.read(), captions))
            out.write(b"\0" * (2 * tarfile.BLOCKSIZE))
            out.write(b"\0" * (-out.tell() % tarfile.RECORDSIZE))
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(f"{shard.tar}: is damaged ({error}); delete it and run build-dataset again") from None
    if missing := set(shard.edits) - found:
        raise InputError(f"{shard.tar}: lacks the sample {min(missing)} of its table; delete it and build it again")


def _edited_member(suffix: str, content: bytes, captions: Captions) -> bytes:
    if suffix == "txt":
        return str(captions[0]["caption"]).encode("utf-8", "surrogatepass")
    if suffix != "json":
        return content
    notes = json.loads(content)
    notes |= {"uid": captions[0]["uid"], "caption": captions[0]["caption"], "captions": list(captions)}
    return json.dumps(notes, indent=4).encode()  # as img2dataset writes it


def _write_member(out: IO[bytes], member: tarfile.TarInfo, content: bytes) -> None:
    header = copy.copy(member)
    header.size = len(content)
    out.write(header.tobuf(tarfile.USTAR_FORMAT))
    out.write(content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + member.size + -member.size % tarfile.BLOCKSIZE


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    while size:
        piece = source.read(min(size, _COPY_BYTES))
        if not piece:
            raise EOFError("it ends inside a sample")
        out.write(piece)
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
