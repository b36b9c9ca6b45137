"""Pairs of words that stand together more often than chance has it, by pointwise mutual information (PMI)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openwit.errors import InputError


@dataclass(frozen=True)
class Bigrams:
    """`table`: query · count · pmi, highest PMI first, then by count and text; `min_pmi` is the lowest taken, given or
    calibrated (None where no bigram was asked for)."""

    table: pa.Table
    min_pmi: float | None


def score(pairs: pa.Table, counts: pa.Table, num_words: int) -> pa.Table:
    """The pairs both of whose words are in `counts`, as query · count · pmi, where
    pmi = log2(num_words · c(xy) / (c(x) · c(y))) in float32."""
    first = pc.index_in(pairs["first"], value_set=counts["word"].combine_chunks())
    second = pc.index_in(pairs["second"], value_set=counts["word"].combine_chunks())
    known = pc.and_(pc.is_valid(first), pc.is_valid(second))
    pairs, first, second = pairs.filter(known), first.filter(known), second.filter(known)
    count_of = counts["count"].to_numpy().astype(np.float64)
    both = pairs["count"].to_numpy().astype(np.float64)
    pmi = np.log2(num_words * both / (count_of[first.to_numpy()] * count_of[second.to_numpy()]))
    query = pc.binary_join_element_wise(pairs["first"], pairs["second"], " ")
    return pa.table({"query": query, "count": pairs["count"], "pmi": pa.array(pmi.astype(np.float32))})


def select(scored: pa.Table, *, min_count: int, min_pmi: float | None, target: int | None, num_words: int) -> Bigrams:
    """The bigrams with count >= `min_count` and either pmi >= `min_pmi`, or the `target` ones of highest PMI.
    Raises InputError where a corpus of `num_words` words can't give so high a PMI or so many bigrams."""
    candidates = scored.filter(pc.greater_equal(scored["count"], min_count))
    ranked = candidates.sort_by([("pmi", "descending"), ("count", "descending"), ("query", "ascending")])
    bound = math.log2(max(num_words, 1) / min_count)
    size = f"this corpus of {num_words:,} words"
    if target is not None:
        if ranked.num_rows < target:
            raise InputError(
                f"terms.num_bigrams={target}: {size} has {ranked.num_rows:,} bigrams of kept words with count >= "
                f"{min_count}; write at most that, a smaller terms.min_bigram_count, or give a larger dump"
            )
        chosen = ranked.slice(0, target)
        return Bigrams(chosen, float(chosen["pmi"][-1].as_py()) if target else None)
    assert min_pmi is not None
    chosen = ranked.filter(pc.greater_equal(ranked["pmi"], pa.scalar(min_pmi, pa.float32())))
    if not chosen.num_rows:
        highest = f"{ranked['pmi'][0].as_py():.2f}" if ranked.num_rows else "none"
        raise InputError(
            f"terms.min_pmi={min_pmi}: out of reach of {size} (highest PMI: {highest}; no bigram with count >= "
            f"{min_count} can have more than {bound:.2f}); write a smaller one, or terms.num_bigrams to calibrate it"
        )
    return Bigrams(chosen, float(min_pmi))
