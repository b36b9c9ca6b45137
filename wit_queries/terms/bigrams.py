"""The stages "pairs" and "bigrams": the pairs of all parts of the dumps in numbers of one vocabulary, dealt to buckets
by hash; then each bucket added up by itself. So neither memory nor one machine has to hold all pairs.

Which of the pairs make the list: those that stand together more often than chance has it (CLIP section 2.2).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit import storage
from openwit.errors import InputError
from openwit.kernels.hashing import mixed
from openwit.stage import Source, Stage, Target
from openwit.storage.row_groups import read_bucket, read_runs, write_buckets
from openwit.storage.tables import read_table
from wit_queries.terms.articles import PAIR_COUNTS, PAIRS, WORD_BUCKETS, WORDS
from wit_queries.terms.count_kernel import I64
from wit_queries.terms.terms import VOCABULARY, WANTED
from wit_queries.terms.word_counts import join_pairs, split_pairs
from wit_queries.wikipedia.dumps import FACTS

BIGRAMS = ".bigrams.parquet"
SCORED = pa.schema([("query", pa.string()), ("count", pa.int64()), ("pmi", pa.float32()), ("candidate", pa.bool_())])
ROW_BYTES = 64  # memory that a row costs at most while it is added up (measured: 55)


@dataclass(frozen=True, kw_only=True)
class BucketsConfig:
    """How the pairs are dealt."""

    num_buckets: int  # parts that are added up one by one


@dataclass(frozen=True, kw_only=True)
class BigramsConfig:
    """Which pairs are bigrams, and how they were dealt."""

    num_buckets: int  # parts that are added up one by one
    min_bigram_count: int  # of a pair in the dump


def num_buckets(num_rows: int, memory_mb: int) -> int:
    """In how many buckets so many rows of counts are dealt for each to fit the memory."""
    return max(1, -(-num_rows * ROW_BYTES // (memory_mb << 20)))


def deal_pairs(config: BucketsConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the pairs (articles.PAIR_COUNTS) of one part whose words are both frequent, or that are wanted, their
    words by place in the vocabulary, a bucket a row group; returns counts of rows."""
    vocabulary = read_table(source.url(VOCABULARY), ["word"])["word"].combine_chunks()
    num_frequent = storage.read_json(source.url(FACTS))["num_frequent"]
    wanted = read_table(source.url(WANTED))["pair"].to_numpy()
    counts: Counter[str] = Counter()
    with pq.ParquetWriter(target.path(PAIRS), PAIR_COUNTS, compression="zstd") as writer:
        runs = zip(read_runs(source.url(WORDS), WORD_BUCKETS), read_runs(source.url(PAIRS), 1), strict=True)
        for words, pairs in runs:
            numbers = pc.fill_null(pc.index_in(words["word"].combine_chunks(), value_set=vocabulary), -1).to_numpy()
            first, second = numbers[pairs["first"].to_numpy()], numbers[pairs["second"].to_numpy()]
            both = join_pairs(first, second)
            kept = (np.minimum(first, second) >= 0) & (
                (np.maximum(first, second) < num_frequent) | is_among(both, wanted)
            )
            dealt = pa.table([first[kept], second[kept], pairs["count"].to_numpy()[kept]], schema=PAIR_COUNTS)
            write_buckets(writer, dealt, mixed(both[kept]) % np.uint64(config.num_buckets), config.num_buckets)
            counts.update({"in": len(both), "kept": len(dealt), "dropped.rare_word": len(both) - len(dealt)})
    return counts


def sum_pairs(config: BigramsConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the pairs of a bucket (SCORED, sorted by query) that are bigram candidates (both words frequent, often
    enough) or wanted, with counts and PMI; returns counts of rows."""
    vocabulary = read_table(source.url(VOCABULARY))
    facts = storage.read_json(source.url(FACTS))
    wanted = read_table(source.url(WANTED))["pair"].to_numpy()
    pairs, pair_counts, num_rows = _add_up(source.urls(PAIRS), source.index, config.num_buckets)
    first, second = split_pairs(pairs)
    frequent = np.maximum(first, second) < facts["num_frequent"]
    candidate = frequent & (pair_counts >= config.min_bigram_count)
    kept = candidate | is_among(pairs, wanted)
    scored = score(vocabulary, first[kept], second[kept], pair_counts[kept], facts["num_words"])
    scored = scored.append_column("candidate", pa.array(candidate[kept])).sort_by("query")
    pq.write_table(scored.cast(SCORED), target.path(BIGRAMS), compression="zstd")
    return Counter(
        {
            "in": num_rows,
            "kept": scored.num_rows,
            "dropped.same_pair": num_rows - len(pairs),
            "dropped.min_bigram_count": len(pairs) - scored.num_rows,
            "candidates": int(candidate.sum()),
        }
    )


def score(
    vocabulary: pa.Table, first: npt.NDArray[np.int32], second: npt.NDArray[np.int32], counts: I64, num_words: int
) -> pa.Table:
    """query · count · pmi of the pairs of the vocabulary's words number first[i] and second[i], where
    pmi = log2(num_words · c(xy) / (c(x) · c(y))) in float32."""
    count_of = vocabulary["count"].to_numpy().astype(np.float64)
    pmi = np.log2(num_words * counts.astype(np.float64) / (count_of[first] * count_of[second]))
    words = vocabulary["word"].combine_chunks()
    query = pc.binary_join_element_wise(words.take(pa.array(first)), words.take(pa.array(second)), " ")
    return pa.table({"query": query, "count": counts, "pmi": pmi.astype(np.float32)})


def is_among(numbers: I64, wanted: I64) -> npt.NDArray[np.bool_]:
    """For each number whether it stands in `wanted`, which is sorted."""
    if not len(wanted):
        return np.zeros(len(numbers), np.bool_)
    place = np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)
    return np.equal(wanted[place], numbers)


def _add_up(urls: list[str], bucket: int, num_buckets: int) -> tuple[I64, I64, int]:
    """The different pairs of a bucket, ascending, their counts, and how many rows there were."""
    rows = [read_bucket(url, bucket, num_buckets) for url in urls]
    pairs = np.concatenate([join_pairs(t["first"].to_numpy(), t["second"].to_numpy()) for t in rows])
    counts = np.concatenate([t["count"].to_numpy() for t in rows])
    del rows
    order = np.argsort(pairs)
    pairs = pairs[order]
    starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])[: len(pairs)])
    sums = np.add.reduceat(counts[order], starts, dtype=np.int64) if len(starts) else np.empty(0, np.int64)
    return pairs[starts], sums, len(pairs)


DEAL: Stage[BucketsConfig] = Stage("pairs", 1, deal_pairs)
SUM: Stage[BigramsConfig] = Stage("bigrams", 1, sum_pairs)


BEST_FIRST = [("pmi", "descending"), ("count", "descending"), ("query", "ascending")]


@dataclass(frozen=True)
class Bigrams:
    """`table`: query · count · pmi, highest PMI first, then by count and text; `min_pmi` is the lowest taken, given or
    calibrated (None where no bigram was asked for, or there is none)."""

    table: pa.Table
    min_pmi: float | None


def select(
    parts: Iterable[pa.Table], *, min_count: int, min_pmi: float | None, target: int | None, num_words: int
) -> Bigrams:
    """Of the candidates (query · count · pmi, each with count >= `min_count`) either those with pmi >= `min_pmi`, or
    the `target` ones of highest PMI, all where there are no more; memory holds these and one of the `parts`. Raises
    InputError where a corpus of `num_words` words can't give so high a PMI."""
    chosen = None
    num_candidates, highest = 0, -math.inf
    for part in parts:
        num_candidates += part.num_rows
        highest = max(highest, pc.max(part["pmi"]).as_py() if part.num_rows else highest)
        if min_pmi is not None:
            part = part.filter(pc.greater_equal(part["pmi"], pa.scalar(min_pmi, pa.float32())))
        chosen = part if chosen is None else pa.concat_tables([chosen, part])
        if target is not None:
            chosen = chosen.sort_by(BEST_FIRST).slice(0, target)
    assert chosen is not None, "there is at least one part"
    if target is not None:
        return Bigrams(chosen, float(chosen["pmi"][-1].as_py()) if chosen.num_rows else None)
    assert min_pmi is not None
    if not chosen.num_rows:
        found = f"{highest:.2f}" if num_candidates else "none"
        bound = math.log2(max(num_words, 1) / min_count)
        raise InputError(
            f"terms.min_pmi={min_pmi}: out of reach of this corpus of {num_words:,} words (highest PMI: {found}; no "
            f"bigram with count >= {min_count} can have more than {bound:.2f}); write a smaller one, or "
            "terms.num_bigrams to calibrate it"
        )
    return Bigrams(chosen.sort_by(BEST_FIRST), float(min_pmi))
