"""A WAT file → matched pairs on one core, beside cc2dataset's extractor on the same local file.

Key: wat_vs_cc2dataset, of seconds of the processor (above 1: ours is faster). Ours is the whole match stage: reading,
captions and URLs cleaned and judged, matching against 500,000 queries, uids, parquet written. cc2dataset 1.5 gives
every image link that has an alt text and a web address, as a list: it matches, cleans, drops and writes nothing. Every
pair that we take from an alt text must be among the peer's.

`two_workers` (not with --quick): one Ray worker's time over that of two, for 24 such files, from the start of the first
partition to the end of the last; the start of Ray is left out.

The peer drags in Spark, of which its extractor uses nothing; without it:  pip install --no-deps cc2dataset==1.5.0
pysimdjson loguru
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from harness import quick_flag, report, stage_seconds
from wat_files import captions, make_word, write_wat

from datagen.config import MatchConfig
from datagen.match import match
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.run import Run
from openwit.stage import Counts, Input, Source, Target
from wit_queries.config import MatcherConfig
from wit_queries.matching import stage as query_table
from wit_queries.text.normalize import words as normalized

NUM_QUERIES = 500_000
NUM_FILES = 24  # for two_workers
Pairs = list[tuple[str, str, str, str, str]]


def queries(texts: list[str]) -> list[str]:
    """As a list from Wikipedia has them: all words, some pairs of words, and titles that captions hardly ever hold."""
    random.seed(0)
    words: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for text in texts:
        found = normalized(text)
        words.update(found)
        pairs.update(f"{one} {two}" for one, two in itertools.pairwise(found))
    often = [text for text, count in words.items() if count > 3]
    apart = [text for text, count in pairs.items() if 3 < count < 50]
    titles = {f"{make_word()} {make_word()}" for _ in range(NUM_QUERIES)}
    return [*often, *apart, *sorted(titles)][:NUM_QUERIES]


def stage(folder: Path, file: Path) -> Callable[[], Counts]:
    """The match stage on that file."""
    pq.write_table(pa.table({"query": queries(captions())}), folder / "queries.parquet")
    listed = Source(index=0, inputs={"queries": (Input.outside(str(folder / "queries.parquet")),)})
    query_table.process(MatcherConfig(), listed, Target(0, folder))
    table = Input.outside(str(folder / query_table.NAME))
    source = Source(index=0, inputs={"pairs": (Input.outside(str(file)),), "matcher": (table,)})
    return lambda: match.match_file(MatchConfig(), source, Target(0, folder))


def cc2dataset(file: Path) -> Callable[[], Pairs]:
    """The peer's extractor on that file. Raises ImportError where it is not installed."""
    for name in ("pyspark", "pyspark.sql", "pyspark.sql.functions"):
        stub = sys.modules.setdefault(name, ModuleType(name))
        vars(stub).update(dict.fromkeys(("SparkContext", "SparkSession", "rand")))
    from cc2dataset.main import process_wat
    from loguru import logger

    logger.remove()
    return lambda: list(process_wat(str(file), "image"))


def check_same(ours: Path, peers: Pairs) -> None:
    """Our pairs from alt texts are among the peer's, up to the cleaning that it leaves out."""
    known = {(url.partition("#")[0], " ".join(alt.split())) for _, url, alt, _, _ in peers}
    rows = pq.read_table(ours, columns=["url", "caption", "caption_from"]).to_pylist()
    missing = [row for row in rows if row["caption_from"] == "alt" and (row["url"], row["caption"]) not in known]
    assert not missing, f"{len(missing)} pairs that the peer does not find, e.g. {missing[0]}"


class Side:
    """A side in a process of its own, on one processor: neither's garbage collector sees the other's objects."""

    def __init__(self, side: str, folder: Path, file: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, side, folder, file), daemon=True)
        self._process.start()
        other.close()

    def run(self) -> float:
        """The processor's seconds that a run on the file takes."""
        self._pipe.send(False)
        return float(self._pipe.recv())

    def result(self) -> object:
        """What a run gives; the first one also compiles."""
        self._pipe.send(True)
        return self._pipe.recv()


def _serve(pipe: Connection, side: str, folder: Path, file: Path) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    work = stage(folder, file) if side == "ours" else cc2dataset(file)
    with contextlib.suppress(EOFError):
        while True:
            wants_result = pipe.recv()
            started = time.process_time()
            result = work()
            pipe.send(result if wants_result else time.process_time() - started)


def on_ray(folder: Path, file: Path, workers: int) -> float:
    """Seconds that the match stage takes over NUM_FILES such files on Ray."""
    table, pairs = Input.outside(str(folder / query_table.NAME)), Input.outside(str(file))
    sources = [Source(index=n, inputs={"pairs": (pairs,), "matcher": (table,)}) for n in range(NUM_FILES)]
    config = ExecutorConfig(kind="ray", workers=workers)
    with tempfile.TemporaryDirectory(dir=folder) as work, Run(work, "benchmark", config, Log()) as run:
        run.stage(match.MATCH, MatchConfig(), sources, run.folder("matched"))
        return stage_seconds(Path(work) / "matched")


def main() -> None:
    """Prints the ratio and the rates."""
    quick = quick_flag(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "made.warc.wat.gz"
        write_wat(file, 20_000_000 if quick else 80_000_000, captions())
        megabytes = file.stat().st_size / 1e6
        ours = Side("ours", folder, file)
        counts = ours.result()
        assert isinstance(counts, Counter)
        print(f"{megabytes:.0f} MB gz, {counts['in']:,} image links, {counts['kept']:,} pairs kept")
        print(f"{counts['matches'] / counts['kept']:.1f} queries a pair")
        rounds = 5 if quick else 7
        if importlib.util.find_spec("cc2dataset") is None:
            print("cc2dataset is not installed (see this script's docstring): ours alone")
            ours_s, ratios = statistics.median(ours.run() for _ in range(rounds)), {}
        else:
            peer = Side("peer", folder, file)
            check_same(folder / "00000.parquet", cast(Pairs, peer.result()))
            times = [(ours.run(), peer.run()) for _ in range(rounds)]
            ours_s = statistics.median(mine for mine, _ in times)
            ratios = {"wat_vs_cc2dataset": statistics.median(theirs / mine for mine, theirs in times)}
            print(f"cc2dataset {megabytes / statistics.median(theirs for _, theirs in times):.1f} MB/s")
        if not quick:
            pairs = [(on_ray(folder, file, 1), on_ray(folder, file, 2)) for _ in range(3)]
            ratios["two_workers"] = statistics.median(one / two for one, two in pairs)
        rate = megabytes / ours_s
        report("wat", ratios, mb_per_s=round(rate, 1), core_seconds_per_300_mb=round(300 / rate, 1))


if __name__ == "__main__":
    main()
