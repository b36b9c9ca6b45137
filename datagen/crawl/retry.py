"""Which rows of a crawl are fetched again: those whose last word is a failure for one of the given reasons.

What was published stays as it is. A row that is fetched again has its last word in a later shard, where `retry_of`
names the key of the row that it takes the place of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import RetryConfig
from datagen.schemas import RETRIED
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table

Keys = np.ndarray[tuple[int], np.dtype[np.uint64]]


def process(config: RetryConfig, source: Source, target: Target) -> Counts:
    """Writes the rows (columns RETRIED) of the shards whose last word is a failure for one of the reasons. Counts rows:
    kept, or dropped as fetched, retried (a later shard has the last word), or other_reason."""
    words = re.compile(pattern_of(config.reasons))
    later = last_words([entry.url for entry in source.inputs.get("later", ())])
    counts: Counts = Counter({"in": 0, "kept": 0})
    with pq.ParquetWriter(target.path(".parquet"), RETRIED, compression="zstd") as writer:
        for entry in source.inputs["shards"]:
            table = read_table(entry.url, ["url", "captions", "key", "reason"])
            reasons = table["reason"].to_pylist()
            old: list[bool] = is_superseded(table["key"], later).tolist()
            states = [_state(word, is_old, words) for word, is_old in zip(reasons, old, strict=True)]
            counts["in"] += len(states)
            counts.update("kept" if state == "kept" else f"dropped.{state}" for state in states)
            wanted = table.filter(pa.array([state == "kept" for state in states], pa.bool_()))
            writer.write_table(wanted.rename_columns(RETRIED.names).cast(RETRIED))
    return counts


STAGE: Stage[RetryConfig] = Stage("retries", 1, process)


def _state(word: str | None, is_old: bool, words: re.Pattern[str]) -> str:
    if word is None:
        return "fetched"
    if is_old:
        return "retried"
    return "kept" if words.fullmatch(word) else "other_reason"


def pattern_of(reasons: Sequence[str]) -> str:
    """The regular expression of the reasons' words; 5xx stands for http_500 to http_599."""
    return "|".join(rf"http_{reason[0]}\d\d" if re.fullmatch(r"[1-5]xx", reason) else reason for reason in reasons)


def last_words(tables: Sequence[str]) -> Keys:
    """The keys, sorted, that rows of these tables take the place of."""
    found = [read_table(url, ["retry_of"])["retry_of"].drop_null() for url in tables]
    numbers = [keys.cast(pa.uint64()).to_numpy() for keys in found if len(keys)]
    return np.unique(np.concatenate(numbers)) if numbers else np.empty(0, np.uint64)


def is_superseded(keys: pa.ChunkedArray | pa.Array, later: Keys) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of each key whether a later row has the last word."""
    if not len(later):
        return np.zeros(len(keys), np.bool_)
    return np.isin(pc.cast(keys, pa.uint64()).to_numpy(), later)
