"""exclusions.parquet with the copies inside the data set, beside what overlaps with the evaluation sets."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.within.groups import NAME
from openwit import storage
from openwit.tables import read_table

EXCLUSIONS = pa.schema(
    [
        ("uid", pa.string()),
        ("eval_set", pa.string()),
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("picture", pa.string()),  # the uid of its first caption: as many pictures are left out as there are of these
    ]
)
WITHIN = "within"


def exclude_copies(folder: str) -> None:
    """In duplicates/, exclusions.parquet has a row with the reason "within" for every pair of every copy that is not
    kept, and no other row of that reason. Where copies were never looked for, nothing changes."""
    url, table = storage.join(folder, "exclusions.parquet"), storage.join(folder, WITHIN, "groups", NAME)
    if not storage.exists(table):
        return
    before = read_table(url, EXCLUSIONS.names) if storage.exists(url) else EXCLUSIONS.empty_table()
    others = before.filter(pc.not_equal(before["reason"], WITHIN))
    after = pa.concat_tables([others, _copies(table)]).sort_by([("uid", "ascending"), ("eval_set", "ascending")])
    if not storage.exists(url) or not after.equals(before):
        buffer = io.BytesIO()
        pq.write_table(after, buffer, compression="zstd")
        storage.write_bytes(url, buffer.getvalue())


def _copies(url: str) -> pa.Table:
    """The rows of all copies; a uid that a kept picture has too (the same URL and caption twice) is left out."""
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
