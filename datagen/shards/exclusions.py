"""exclusions.parquet: the pairs that training leaves out, and why."""

from __future__ import annotations

import io
import posixpath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.shards.tombstones import request_folders
from openwit import storage
from openwit.storage.tables import one_chunk, read_table

EXCLUSIONS = pa.schema(
    [
        ("uid", pa.string()),
        ("eval_set", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("image", pa.string()),  # the uid of its first caption: as many images are left out as there are of these
    ]
)
NAME = "exclusions.parquet"


def replace_reason(folder: str, reason: str, rows: pa.Table) -> None:
    """In the folder's exclusions.parquet, `rows` (columns EXCLUSIONS) are afterwards all those of the reason. What
    removed/, beside the folder, took out of the shards is in no row; a file that would not change is not written."""
    url = storage.join(folder, NAME)
    before = read_table(url, EXCLUSIONS.names) if storage.exists(url) else None
    kept = [] if before is None else [before.filter(pc.not_equal(before["reason"], reason))]
    after = pa.concat_tables([*kept, rows]).sort_by([("uid", "ascending"), ("eval_set", "ascending")])
    after = _without_removed(after, folder)
    if before is None or not after.equals(before):
        _write(url, after)


def forget_removed(folder: str) -> None:
    """In the folder's exclusions.parquet, if there is one, no row is kept of what was removed from the shards."""
    url = storage.join(folder, NAME)
    if storage.exists(url):
        before = read_table(url)
        after = _without_removed(before, folder)
        if len(after) < len(before):
            _write(url, after)


def _without_removed(rows: pa.Table, folder: str) -> pa.Table:
    """The rows whose pair no request of `openwit remove` took out; those are in removed/, beside the folder."""
    requests = request_folders(storage.join(posixpath.dirname(folder.rstrip("/")), "removed"))
    logs = [storage.join(request, "removed.parquet") for request in requests]
    uids = [one_chunk(read_table(log, ["uid"])["uid"]) for log in logs if storage.exists(log)]
    return rows.filter(pc.invert(pc.is_in(rows["uid"], value_set=pa.concat_arrays(uids)))) if uids else rows


def _write(url: str, rows: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    storage.write_bytes(url, buffer.getvalue())
