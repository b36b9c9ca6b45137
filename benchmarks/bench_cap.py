"""The cap's compiled loops against MetaCLIP's way of balancing, from 10^4 to 10^7 pairs; and the real stages on Ray.

`cap_per_s`: matches/s on one core of all three loops together, in memory: counting the matches of each query, keyed
hash and bracket (gather_bracketed), keyed hash and selection (select), marks and numbers a pair written. Reading files,
finding copies and deciding the thresholds are not in it. `cap_flatness`: the cost of a pair at 10^4, 10^5, 10^6 and
10^7 pairs a call, worst over best. `peak_gb`: of this process, with 10^7 pairs. `cap_vs_metaclip`: the peer keeps a
pair if a coin of one of its queries says so, pair by pair, counting included (the rule of MetaCLIP, section 3.2, in
plain Python and numpy as it is published).
`two_workers` (not with --quick): the time from matched/ to selected/ of one Ray worker over that of two, real files and
stages; starting Ray and its workers, some seconds a stage, is not in it.
"""

from __future__ import annotations

import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from harness import paired, quick_flag, report, stage_seconds  # noqa: E402

from datagen.config import CapConfig, ShuffleConfig  # noqa: E402
from datagen.select.cap_kernel import count_matches, mark_bracketed, mark_selected  # noqa: E402
from datagen.select.distinct import Pairs  # noqa: E402

NUM_QUERIES, MATCHES_A_PAIR, CAP = 500_000, 4, 200
SIZES = (10**4, 10**5, 10**6, 10**7)
RNG = np.random.default_rng(0)
SEED = np.uint64(0)


def made_pairs(number: int) -> Pairs:
    """Pairs whose queries are drawn by Zipf's law, in a list that is not ordered by it; 1 to 7 of them a pair."""
    shares = np.cumsum(1 / np.arange(1, NUM_QUERIES + 1))
    drawn = np.searchsorted(shares, RNG.random(MATCHES_A_PAIR * 10**6) * shares[-1])
    query_ids = RNG.permutation(NUM_QUERIES).astype(np.int32)[drawn]
    lengths = RNG.integers(1, 2 * MATCHES_A_PAIR, number)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    high, low = RNG.integers(0, 2**64, (2, number), dtype=np.uint64)
    return Pairs(high, low, offsets, np.resize(query_ids, offsets[-1]))


def blocks(pairs: Pairs, size: int) -> list[Pairs]:
    """The pairs (at most the first million, or one block) in arrays of `size` pairs each."""
    found = []
    for start in range(0, min(len(pairs.high), max(size, 10**6)), size):
        offsets = pairs.offsets[start : start + size + 1]
        query_ids = pairs.query_ids[offsets[0] : offsets[-1]]
        found.append(
            Pairs(pairs.high[start : start + size], pairs.low[start : start + size], offsets - offsets[0], query_ids)
        )
    return found


class Cap:
    """The tables that a worker holds, for thresholds that fit the number of matches."""

    def __init__(self, pairs: Pairs) -> None:
        matches = np.bincount(pairs.query_ids, minlength=NUM_QUERIES)
        share = np.minimum(1, CAP / np.maximum(matches, 1))
        self.last = (share * (2.0**64 - 4096)).astype(np.uint64)
        self.last_upper = (self.last >> np.uint64(32)).astype(np.uint32)
        width = (8 * CAP**0.5 + 32) / CAP
        capped = share < 1
        self.first_of_bracket = np.where(capped, np.maximum(0, 1 - width) * self.last_upper, 1).astype(np.uint32)
        last = np.where(capped, np.minimum((1 + width) * self.last_upper, 2**32 - 1), 0)
        self.last_of_bracket = last.astype(np.uint32)
        self.matches, self.below = np.zeros((2, NUM_QUERIES), np.int32)
        self.uid = np.zeros(NUM_QUERIES, np.uint64)

    def count(self, parts: list[Pairs]) -> None:
        """The loop of the distinct stage."""
        for part in parts:
            count_matches(part.query_ids, self.matches)

    def gather_bracketed(self, parts: list[Pairs]) -> None:
        """The loop of the gather_bracketed stage."""
        brackets = self.first_of_bracket, self.last_of_bracket
        for part in parts:
            mark_bracketed(SEED, part.arrays, brackets, self.below, np.zeros(len(part.query_ids), bool))

    def select(self, parts: list[Pairs]) -> None:
        """The loop of the select stage."""
        last = self.last, self.uid, self.uid
        for part in parts:
            chosen, number = np.empty(len(part.query_ids), bool), np.empty(len(part.high), np.int32)
            mark_selected(SEED, part.arrays, self.last_upper, last, chosen, number)

    def all(self, parts: list[Pairs]) -> None:
        """All three, one after another, as the stages follow each other."""
        for loop in (self.count, self.gather_bracketed, self.select):
            loop(parts)


def metaclip_like(pairs: Pairs, queries_of: list[list[int]]) -> int:
    """How many pairs are kept: each by an unseeded coin of any of its queries, in their turn."""
    matches = np.bincount(pairs.query_ids, minlength=NUM_QUERIES)
    chance = (CAP / np.maximum(matches, CAP)).tolist()
    kept = 0
    for query_ids in queries_of:
        for query in query_ids:
            if random.random() < chance[query]:
                kept += 1
                break
    return kept


def core_seconds(work: Callable[[], object]) -> float:
    """The time of one core that a call takes; what other processes take meanwhile is not in it."""
    started = time.process_time()
    work()
    return time.process_time() - started


def flatness(pairs: Pairs, rounds: int) -> tuple[float, dict[str, float]]:
    """Worst over best of the costs of a pair at each size, and these costs in ns: of each loop the least of all
    rounds, as what other processes do to the caches makes the others dearer."""
    cut = {size: blocks(pairs, size) for size in SIZES}
    cap = Cap(pairs)
    loops = (cap.count, cap.gather_bracketed, cap.select)
    least = {size: [np.inf] * len(loops) for size in SIZES}
    for _ in range(rounds):
        for size, parts in cut.items():
            number = sum(len(part.high) for part in parts)
            costs = [core_seconds(partial(loop, parts)) / number * 1e9 for loop in loops]
            least[size] = [min(pair) for pair in zip(least[size], costs, strict=True)]
    total = {size: sum(costs) for size, costs in least.items()}
    shown = {f"ns_at_{size:.0e}": round(cost, 1) for size, cost in total.items()}
    return max(total.values()) / min(total.values()), shown


def write_matched(work: Path, num_files: int, rows: int) -> None:
    """matched/ as the match stage leaves it, and its manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from datagen.schemas import MATCHED
    from openwit import manifest
    from openwit.shards.notes import pair_uid
    from openwit.storage.files import sha256

    (work / "matched").mkdir(parents=True)
    parts = []
    for index in range(num_files):
        pairs = made_pairs(rows)
        numbers = (index * rows * 3 // 4 + np.arange(rows)).tolist()  # a quarter stands in the next file too
        urls = [f"https://images{n % 997}.example.org/media/{n % 89}/image-{n // 2}.jpg" for n in numbers]
        captions = [f"the caption number {n} of an image that somebody took somewhere" for n in numbers]
        queries = pa.ListArray.from_arrays(pa.array(pairs.offsets), pa.array(pairs.query_ids))
        pages = [f"https://www{n % 997}.example.org/articles/{n // 9}.html" for n in numbers]
        uids = [pair_uid(url, caption) for url, caption in zip(urls, captions, strict=True)]
        columns = {"uid": uids, "url": urls, "caption": captions, "page_url": pages, "query_ids": queries}
        empty = pa.nulls(rows)
        path = work / "matched" / f"{index:05d}.parquet"
        table = pa.table([columns.get(name, empty.cast(MATCHED.field(name).type)) for name in MATCHED.names], MATCHED)
        pq.write_table(table, path, compression="zstd")
        file = manifest.PartFile(name=path.name, bytes=path.stat().st_size, sha256=sha256(path))
        parts.append(
            manifest.Part(index=index, key="made", rows=rows, files=(file,), counts={"in": rows, "kept": rows})
        )
    made = manifest.Manifest(stage="match", version=1, config={}, inputs={}, parts=tuple(parts))
    manifest.write(str(work / "matched"), made)


def from_matched_to_selected(work: Path, workers: int) -> float:
    """Seconds that the real stages take on Ray, into a folder of their own beside matched/: of each from the start of
    its first partition to the end of its last one."""
    from datagen import pipeline
    from openwit import manifest
    from openwit.executors.executor import ExecutorConfig
    from openwit.log.events import Log
    from openwit.run import Run

    folder = Path(tempfile.mkdtemp(dir=work))
    (folder / "matched").symlink_to(work / "matched")
    with Run(str(folder), "bench", ExecutorConfig(kind="ray", workers=workers), Log()) as run:
        matched = manifest.read(str(folder / "matched"))
        config = ShuffleConfig(num_partitions=16, bundle_mb=matched.parts[0].files[0].bytes / 1e6 * 1.5)
        pipeline.select_pairs(run, matched, config, CapConfig(max_pairs=CAP))
    stages = ("shuffled", "distinct", "cap/brackets", "cap/bracketed", "cap", "selected")
    return sum(stage_seconds(folder / stage) for stage in stages)


def main() -> None:
    """Prints the closing line."""
    quick = quick_flag(__doc__)
    pairs = made_pairs(10**7)
    flat, costs = flatness(pairs, 7 if quick else 15)
    (million,) = blocks(pairs, 10**6)
    million_cap = Cap(million)
    ours = statistics.median(core_seconds(lambda: million_cap.all([million])) for _ in range(5 if quick else 15))
    few = blocks(pairs, 10**5)[0]
    queries_of = [entry.tolist() for entry in np.split(few.query_ids, few.offsets[1:-1])]
    few_cap = Cap(few)
    fivefold = paired(lambda: few_cap.all([few] * 5), lambda: metaclip_like(few, queries_of), 5 if quick else 15)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    ratios = {
        "cap_per_s": len(million.query_ids) / ours,
        "cap_flatness": flat,
        "cap_vs_metaclip": fivefold.speed_ratio * 5,
        "peak_gb": peak,
    }
    if not quick:
        with tempfile.TemporaryDirectory() as work:
            write_matched(Path(work), num_files=16, rows=200_000)
            pair = [from_matched_to_selected(Path(work), workers) for workers in (1, 2, 1, 2)]
        ratios["two_workers"] = (pair[0] + pair[2]) / (pair[1] + pair[3])
    report("cap", ratios, **costs, metaclip_per_s=round(len(few.query_ids) / fivefold.peer_s))


if __name__ == "__main__":
    main()
