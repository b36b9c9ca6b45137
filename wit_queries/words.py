"""Words and neighbouring pairs of words, counted in text, and the words that occur often enough."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from openwit.errors import InputError
from wit_queries.normalize import words

WORD_COUNTS = pa.schema([("word", pa.string()), ("count", pa.int64())])
PAIR_COUNTS = pa.schema([("first", pa.string()), ("second", pa.string()), ("count", pa.int64())])


class TextCounts:
    """Counts of the words and pairs of all texts added. A pair does not reach over the end of a line."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()

    def add(self, text: str) -> None:
        """Counts the words of `text`."""
        for line in text.splitlines():
            found = words(line)
            self.words.update(found)
            self.pairs.update(pairwise(found))

    def word_table(self) -> pa.Table:
        """word · count, sorted by word."""
        rows = sorted(self.words.items())
        return pa.table([[word for word, _ in rows], [count for _, count in rows]], schema=WORD_COUNTS)

    def pair_table(self) -> pa.Table:
        """first · second · count, sorted by both words."""
        rows = sorted(self.pairs.items())
        columns = [[pair[0] for pair, _ in rows], [pair[1] for pair, _ in rows], [count for _, count in rows]]
        return pa.table(columns, schema=PAIR_COUNTS)


def add_up(tables: list[pa.Table]) -> pa.Table:
    """The counts of several tables of one schema added up, sorted by their words."""
    table = pa.concat_tables(tables)
    keys = [name for name in table.column_names if name != "count"]
    total = table.group_by(keys, use_threads=False).aggregate([("count", "sum")]).rename_columns([*keys, "count"])
    return total.sort_by([(key, "ascending") for key in keys])


def frequent_words(counts: pa.Table, min_count: int) -> pa.Table:
    """The words with count >= `min_count` (CLIP section 2.2: 100 in English Wikipedia), commonest first, then by
    word. Raises InputError where no word is that frequent."""
    kept = counts.filter(pc.greater_equal(counts["count"], min_count))
    if not kept.num_rows:
        highest = pc.max(counts["count"]).as_py() or 0
        raise InputError(
            f"terms.min_count={min_count}: no word of the dump occurs so often (the commonest: {highest} times); "
            "write a smaller one or give a larger dump"
        )
    return kept.sort_by([("count", "descending"), ("word", "ascending")])
