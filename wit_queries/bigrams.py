"""Which of the pairs make the list: those that stand together more often than chance has it (CLIP section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from openwit.errors import InputError

BEST_FIRST = [("pmi", "descending"), ("count", "descending"), ("query", "ascending")]


@dataclass(frozen=True)
class Bigrams:
    """`table`: query · count · pmi, highest PMI first, then by count and text; `min_pmi` is the lowest taken, given or
    calibrated (None where no bigram was asked for)."""

    table: pa.Table
    min_pmi: float | None


def select(
    parts: Iterable[pa.Table], *, min_count: int, min_pmi: float | None, target: int | None, num_words: int
) -> Bigrams:
    """Of the candidates (query · count · pmi, each with count >= `min_count`) either those with pmi >= `min_pmi`, or
    the `target` ones of highest PMI; memory holds these and one of the `parts`. Raises InputError where a corpus of
    `num_words` words can't give so high a PMI or so many bigrams."""
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
    size = f"this corpus of {num_words:,} words"
    if target is not None:
        if num_candidates < target:
            raise InputError(
                f"terms.num_bigrams={target}: {size} has {num_candidates:,} bigrams of kept words with count >= "
                f"{min_count}; write at most that, a smaller terms.min_bigram_count, or give a larger dump"
            )
        return Bigrams(chosen, float(chosen["pmi"][-1].as_py()) if target else None)
    assert min_pmi is not None
    if not chosen.num_rows:
        found = f"{highest:.2f}" if num_candidates else "none"
        bound = math.log2(max(num_words, 1) / min_count)
        raise InputError(
            f"terms.min_pmi={min_pmi}: out of reach of {size} (highest PMI: {found}; no bigram with count >= "
            f"{min_count} can have more than {bound:.2f}); write a smaller one, or terms.num_bigrams to calibrate it"
        )
    return Bigrams(chosen.sort_by(BEST_FIRST), float(min_pmi))
