"""Rounds of retries: each is a folder retries/NNNN/ with the list of its rows, whose shards follow those before it.

So the partitions of a crawl follow from the work folder alone: whoever comes after a kill, or asks for no retry, finds
the same ones.

Which rows of a crawl are fetched again: those whose latest attempt failed for one of the given reasons.

What was published stays as it is. A row that is fetched again has its latest attempt in a later shard, where `retry_of`
names the key of the row that it takes the place of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import CrawlConfig, RetryConfig
from datagen.crawl import crawl
from datagen.schemas import RETRIED
from openwit import manifest as manifests
from openwit import storage
from openwit.config import digest
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Counts, Input, Source, Stage, Target, partition_key
from openwit.storage.tables import read_table

Keys = np.ndarray[tuple[int], np.dtype[np.uint64]]


def process(config: RetryConfig, source: Source, target: Target) -> Counts:
    """Writes the rows (columns RETRIED) of the shards whose latest attempt failed for one of the reasons. Counts
    rows: kept, or dropped as fetched, retried (a later shard has the latest attempt), or other_reason."""
    words = re.compile(pattern_of(config.reasons))
    later = latest_attempts([entry.url for entry in source.inputs.get("later", ())])
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


def latest_attempts(tables: Sequence[str]) -> Keys:
    """The keys, sorted, that rows of these tables take the place of."""
    found = [read_table(url, ["retry_of"])["retry_of"].drop_null() for url in tables]
    numbers = [keys.cast(pa.uint64()).to_numpy() for keys in found if len(keys)]
    return np.unique(np.concatenate(numbers)) if numbers else np.empty(0, np.uint64)


def is_superseded(keys: pa.ChunkedArray | pa.Array, later: Keys) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of each key whether a later row is its latest attempt."""
    if not len(later):
        return np.zeros(len(keys), np.bool_)
    return np.isin(pc.cast(keys, pa.uint64()).to_numpy(), later)


_SHARDS_A_LIST = 64  # whose failed rows are gathered by one worker
_MADE_FOR = "crawl"  # the manifest's input that says for which partitions a round was made


@dataclass(frozen=True)
class Rounds:
    """The crawl of `base` partitions with `config`, and the retries of its rows. A round that was made for other
    partitions, or another config, counts no more."""

    run: Run
    config: CrawlConfig
    base: Sequence[Source]

    def sources(self) -> list[Source]:
        """The partitions of the crawl, then those of each round."""
        return self._read()[0]

    def begin(self, made: Manifest, config: RetryConfig) -> Manifest:
        """The list of a further round: the failed rows of the finished crawl, `made`, that are to be fetched again."""
        sources, number = self._read()
        folder, shards = self._folder(number), self.run.folder("shards")
        if not self.run.dry_run:
            storage.delete(storage.join(folder, manifests.MANIFEST))  # of a round that counts no more
        tables = [Input.made(shards, part.file(".parquet")) for part in made.parts]
        groups = [tuple(tables[start : start + _SHARDS_A_LIST]) for start in range(0, len(tables), _SHARDS_A_LIST)]
        later = tuple(tables[len(self.base) :])
        lists = [Source(index=place, inputs={"shards": group, "later": later}) for place, group in enumerate(groups)]
        return self.run.stage(STAGE, config, lists, folder, {_MADE_FOR: self._digest(sources)})

    def _read(self) -> tuple[list[Source], int]:
        """All partitions, and the number of rounds."""
        sources, number = list(self.base), 0
        while storage.exists(storage.join(self._folder(number), manifests.MANIFEST)):
            made = manifests.read(self._folder(number))
            if made.inputs.get(_MADE_FOR) != self._digest(sources):
                break
            others = {role: entries for role, entries in self.base[0].inputs.items() if role != "selected"}
            for entry in shard_inputs(self._folder(number), made, self.config.shard_rows):
                sources.append(Source(index=len(sources), inputs={"selected": (entry,), **others}))
            number += 1
        return sources, number

    def _folder(self, number: int) -> str:
        return self.run.folder("retries", f"{number:04d}")

    def _digest(self, sources: Sequence[Source]) -> str:
        return digest([partition_key(crawl.STAGE, self.config, source) for source in sources])


def shard_inputs(folder: str, made: Manifest, shard_rows: int) -> list[Input]:
    """The tables of a stage in runs of at most `shard_rows` rows of equal length."""
    inputs = []
    for part in made.parts:
        table = Input.made(folder, part.file(".parquet"))
        shards = -(-part.rows // shard_rows)
        ends = [part.rows * (number + 1) // shards for number in range(shards)]
        inputs += [table.cut(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return inputs
