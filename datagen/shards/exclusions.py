"""exclusions.parquet with the copies inside the data set, beside what overlaps with the evaluation sets."""

from __future__ import annotations

import io
import posixpath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.within.groups import NAME
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
WITHIN = "within"


def exclude_copies(folder: str) -> None:
    """In duplicates/, exclusions.parquet has a row with the reason "within" for every pair of every copy that is not
    kept, and no other row of that reason; where copies were never looked for, it keeps those that it has. What
    removed/, beside that folder, took out of the shards is in no row."""
    url, table = storage.join(folder, "exclusions.parquet"), storage.join(folder, WITHIN, "groups", NAME)
    is_there, has_copies = storage.exists(url), storage.exists(table)
    if not is_there and not has_copies:
        return
    before = read_table(url, EXCLUSIONS.names) if is_there else EXCLUSIONS.empty_table()
    after = before
    if has_copies:
        others = before.filter(pc.not_equal(before["reason"], WITHIN))
        after = pa.concat_tables([others, _copies(table)]).sort_by([("uid", "ascending"), ("eval_set", "ascending")])
    after = _without_removed(after, folder)
    if not is_there or not after.equals(before):
        _write(url, after)


def forget_removed(folder: str) -> None:
    """In duplicates/, exclusions.parquet, if there is one, keeps no row of what was removed from the shards."""
    url = storage.join(folder, "exclusions.parquet")
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


def _copies(url: str) -> pa.Table:
    """The rows of all copies; a uid that a kept image has too (the same URL and caption twice) is left out."""
    table = read_table(url, ["uid", "uids", "kept", "score"])
    kept = pc.list_flatten(table.filter(table["kept"])["uids"])
    dropped = table.filter(pc.invert(table["kept"]))
    uids = pc.list_flatten(dropped["uids"])
    rows_of = pc.list_parent_indices(dropped["uids"])
    scores = dropped["score"].take(rows_of).cast(pa.float64())
    number = len(uids)
    columns = [uids, pa.array([""] * number, pa.string()), pa.array([WITHIN] * number, pa.string()), scores]
    columns.append(dropped["uid"].take(rows_of))
    rows = pa.table(columns, schema=EXCLUSIONS)
    return rows.filter(pc.invert(pc.is_in(rows["uid"], value_set=kept.combine_chunks())))
