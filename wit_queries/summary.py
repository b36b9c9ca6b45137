"""The list of queries as a person reads it: terms a source, examples of each, head and tail of the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from openwit import storage
from openwit.log.text_table import NO_BREAK, text_table
from openwit.storage.tables import read_table
from wit_queries.terms.query_list import QUERIES_JSON, QUERIES_PARQUET, SOURCES

NUM_EXAMPLES = 6


def summarize(folder: str) -> str:
    """Some twenty lines on the list in `folder`. Raises InputError where there is none."""
    record = storage.read_json(storage.join(folder, QUERIES_JSON))
    table = read_table(storage.join(folder, QUERIES_PARQUET))
    thresholds, dropped = record["thresholds"], record["dropped"]
    size = f"{record['words_counted']:,} words of text, {record['different_words']:,} of them different"
    lines = [f"{table.num_rows:,} queries from {size}"]
    pmi = thresholds["reached_min_pmi"]
    notes = {"bigram": f"PMI >= {pmi:.2f}"} if pmi is not None else {}
    notes["title"] = f"views >= {thresholds['min_total_views']}"
    notes["word"] = f"count >= {thresholds['min_count']}"
    shown, examples = [], []
    for source in SOURCES:
        rows = table.filter(pc.equal(table["source"], source))
        also = _also(record["queries_by_all_sources"], source)
        shown.append((source + "s", rows.num_rows, notes.get(source, ""), also))
        examples.append((source + "s", _examples(rows)))
    measured = table.filter(pc.is_valid(table["count"])).sort_by([("count", "descending"), ("query", "ascending")])
    seen = measured.filter(pc.greater(measured["count"], 0))
    examples.append(("head of the counts", _counted(seen.slice(0, NUM_EXAMPLES))))
    examples.append(("tail of the counts", _counted(seen.slice(max(0, seen.num_rows - NUM_EXAMPLES)))))
    lines += [text_table(("source", "terms", "threshold", "also"), shown), text_table(("", "for example"), examples)]
    lines.append(f"  {table.num_rows - seen.num_rows:,} terms do not occur in the text or have more than two words")
    asked, found = thresholds["num_bigrams"], record["terms_found"]["bigram"]
    if asked is not None and found < asked:
        reason = f"pairs of kept words with count >= {thresholds['min_bigram_count']}"
        lines.append(f"  {found:,} bigrams, not terms.num_bigrams={asked:,}: this corpus has no more {reason}")
    if dropped.get("max_queries"):
        lines.append(f"  {dropped['max_queries']:,} terms came too late for max_queries={thresholds['max_queries']:,}")
    if thresholds["block_list"]:
        vain = record["blocked_in_vain"]
        rest = f"; {len(vain):,} lines match no term: {', '.join(vain[:NUM_EXAMPLES])}" if vain else ""
        lines.append(f"  {dropped.get('blocked', 0):,} terms are in the block list{rest}")
    return "\n".join(lines)


def _also(combinations: dict[str, int], source: str) -> str:
    """How many of a source's terms come from later sources, too."""
    also: Counter[str] = Counter()
    for names, number in combinations.items():
        first, *others = names.split("+")
        if first == source:
            also.update(dict.fromkeys(others, number))
    return ", ".join(f"{also[name]:,} {name}s" for name in SOURCES if also[name])


def _examples(rows: pa.Table) -> str:
    """Terms at equal distances, so that the examples are not all of the head."""
    step = max(1, rows.num_rows // NUM_EXAMPLES)
    return _listed(rows["query"].to_pylist()[::step][:NUM_EXAMPLES])


def _counted(rows: pa.Table) -> str:
    pairs = zip(rows["query"].to_pylist(), rows["count"].to_pylist(), strict=True)
    return _listed([f"{query} {count:,}" for query, count in pairs])


def _listed(entries: Sequence[str]) -> str:
    """The entries side by side, none of which is folded."""
    return f"{NO_BREAK}· ".join(entry.replace(" ", NO_BREAK) for entry in entries)
