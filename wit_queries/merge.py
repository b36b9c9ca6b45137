"""One row a query, from the words, bigrams, titles and synsets, in the order that gives the ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa

QUERIES_PARQUET, QUERIES_JSON = "queries.parquet", "queries.json"
SOURCES = ("word", "bigram", "title", "synset")
QUERIES = pa.schema(
    [
        ("query_id", pa.int32()),
        ("query", pa.string()),
        ("source", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("count", pa.int64()),
        ("pmi", pa.float32()),
        ("views", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Measures:
    """What the dump and the view files say of terms: `count` of words and pairs, `pmi` of pairs, `views` of
    titles. A term that is missing was not measured."""

    count: Mapping[str, int]
    pmi: Mapping[str, float]
    views: Mapping[str, int]


def merge(
    terms: Mapping[str, list[str]], measures: Measures, max_queries: int, blocked: Collection[str] = ()
) -> tuple[pa.Table, Counter[str]]:
    """The list (QUERIES) of at most `max_queries` without those `blocked`, and its counts. `terms` has each source's
    terms, best first.

    Ids follow the order: words, bigrams, titles, synsets, each as given; a term of several sources stands under the
    first, and `sources` names all. What was not measured is null: counts of three words and more, PMI of other than
    pairs, views.
    """
    counts: Counter[str] = Counter()
    sources_of: dict[str, list[str]] = {}
    for source in SOURCES:
        for query in terms[source]:
            counts["in"] += 1
            if query in blocked:
                counts["dropped.blocked"] += 1
            elif query in sources_of:
                counts["dropped.other_source"] += 1
                sources_of[query].append(source)
            elif len(sources_of) >= max_queries:
                counts["dropped.max_queries"] += 1
            else:
                sources_of[query] = [source]
                counts[f"source.{source}"] += 1
    counts["kept"] = len(sources_of)
    queries = list(sources_of)
    columns = [
        range(len(queries)),
        queries,
        (sources[0] for sources in sources_of.values()),
        sources_of.values(),
        map(measures.count.get, queries),
        map(measures.pmi.get, queries),
        map(measures.views.get, queries),
    ]
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, QUERIES, strict=True)]
    return pa.table(arrays, schema=QUERIES), counts
