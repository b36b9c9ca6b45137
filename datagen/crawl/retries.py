"""Rounds of retries: each is a folder retries/NNNN/ with the list of its rows, whose shards follow those before it.

So the partitions of a crawl follow from the work folder alone: whoever comes after a kill, or asks for no retry, finds
the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datagen.config import CrawlConfig, RetryConfig
from datagen.crawl import crawl, retry
from openwit import manifest as manifests
from openwit import storage
from openwit.config import digest
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source, partition_key

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
        return self.run.stage(retry.STAGE, config, lists, folder, {_MADE_FOR: self._digest(sources)})

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
