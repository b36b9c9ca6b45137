"""Img2dataset's files in canonical form, as they are published: in the order of keys, with the reason of each failure.

Equal answers of the web give equal bytes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.crawl.fetch.failures import reason
from openwit.errors import printable
from openwit.shards.tar import PlainTar, members
from openwit.stage import Counts


def canonicalise_table(made: Path, path: Path, retries: pa.Table | None = None) -> pa.Table:
    """The shard's rows, written to `path` with three more columns: `reason` (a word; null where the image was
    fetched), `duplicate_of` (the key of the shard's first image with the same bytes) and `retry_of` (the key of the
    failed row that this one takes the place of, from `retries`, which is in the order of keys)."""
    table = pq.read_table(made).sort_by("key").combine_chunks()
    messages = [message and printable(message) for message in table["error_message"].to_pylist()]
    table = table.set_column(
        table.column_names.index("error_message"), "error_message", pa.array(messages, pa.string())
    )
    rows = zip(table["status"].to_pylist(), messages, strict=True)
    reasons = [None if status == "success" else reason(message or "") for status, message in rows]
    retried = retries["retry_of"] if retries is not None else pa.nulls(len(table), pa.string())
    for name, column in (("reason", reasons), ("duplicate_of", _duplicates(table)), ("retry_of", retried)):
        values = pa.array(column, pa.string()) if isinstance(column, list) else column
        table = table.append_column(pa.field(name, pa.string()), values)
    pq.write_table(table, path, compression="zstd")
    return table


def _duplicates(table: pa.Table) -> list[str | None]:
    firsts: dict[str, str] = {}
    found: list[str | None] = []
    for key, sha256 in zip(table["key"].to_pylist(), table["sha256"].to_pylist(), strict=True):
        found.append(firsts.get(sha256) if sha256 else None)
        if sha256:
            firsts.setdefault(sha256, key)
    return found


def canonicalise_tar(made: Path, path: Path) -> None:
    """The same members in the order of their names, without times or owners."""
    with made.open("rb") as source, path.open("wb") as file:
        tar = PlainTar(file)
        for name, start, num_bytes in sorted(members(source)):
            source.seek(start)
            tar.add(name, source.read(num_bytes))
        tar.close()


def count_rows(table: pa.Table, retries: pa.Table | None = None) -> Counts:
    """URLs `in`, `kept`, `dropped.<reason>`; `same_bytes`, the kept ones that are copies; and of a shard of retries
    `retried.<reason>`, the rows of earlier shards that count no more."""
    reasons = table["reason"].to_pylist()
    counts: Counts = Counter({"in": len(reasons), "kept": reasons.count(None)})
    counts.update(f"dropped.{word}" for word in reasons if word is not None)
    counts["same_bytes"] = len(table) - table["duplicate_of"].null_count
    if retries is not None:
        counts.update(f"retried.{word}" for word in retries["retry_reason"].to_pylist())
    return counts
