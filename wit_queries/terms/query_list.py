"""The stage "queries": the bigrams are chosen, and all terms become one list with the reason for each.

One row a query, from the words, bigrams, titles and synsets, in the order that gives the ids.

Terms that are not wanted in the list, whatever they come from.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit import storage
from openwit.config import to_json
from openwit.errors import InputError
from openwit.stage import Source, Stage, Target
from openwit.storage.tables import read_table
from wit_queries.config import TermsConfig
from wit_queries.terms import bigrams
from wit_queries.terms.bigrams import BIGRAMS
from wit_queries.terms.terms import NAMED, SYNSETS, VOCABULARY
from wit_queries.text.normalize import normalize
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.dumps import FACTS

QUERIES_PARQUET, QUERIES_JSON = "queries.parquet", "queries.json"
SOURCES = ("word", "bigram", "title", "synset")
QUERY_COLUMNS = pa.schema(
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
    arrays = [pa.array(list(column), field.type) for column, field in zip(columns, QUERY_COLUMNS, strict=True)]
    return pa.table(arrays, schema=QUERY_COLUMNS), counts


def by_count(queries: Iterable[str], count: Mapping[str, int]) -> list[str]:
    """The queries by falling count, those without one last; of equal ones as they came."""
    return sorted(queries, key=lambda query: -count.get(query, 0))


def read_block_list(url: str) -> dict[str, str]:
    """Each blocked term, normalised as all terms are, with its line as written. Lines are terms; empty ones and those
    that begin with # say nothing. Raises InputError where the file is missing or no UTF-8 text, or where a line has no
    word that could match a term."""
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{url}: is no UTF-8 text (byte {error.start}); expected one term a line") from None
    blocked: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        term = line.strip()
        if not term or term.startswith("#"):
            continue
        query = normalize(term)
        if not query:
            raise InputError(f"{url}: line {number}, {term[:60]!r}, has no word; write one term a line, # for comments")
        blocked.setdefault(query, term)
    return blocked


TERM_FACTS, BLOCK_LIST = ".terms.json", "block_list"


def make_list(config: TermsConfig, source: Source, target: Target) -> Counter[str]:
    """Writes queries.parquet (merge.QUERIES) and queries.json; returns counts of terms."""
    facts = storage.read_json(source.url(TERM_FACTS))
    vocabulary, named = read_table(source.url(VOCABULARY)), read_table(source.url(NAMED))
    found = bigrams.select(
        _candidates(source),
        min_count=config.min_bigram_count,
        min_pmi=config.min_pmi,
        target=config.num_bigrams,
        num_words=facts["num_words"],
    )
    terms = {
        "word": vocabulary["word"].slice(0, facts["num_frequent"]).to_pylist(),
        "bigram": found.table["query"].to_pylist(),
        "title": named["query"].to_pylist(),
        "synset": read_table(source.url(SYNSETS))["query"].to_pylist(),
    }
    measures = _measures(terms, vocabulary, source, named)
    terms["synset"] = by_count(terms["synset"], measures.count)
    blocked = {query: line for url in source.urls(BLOCK_LIST) for query, line in read_block_list(url).items()}
    table, counts = merge(terms, measures, config.max_queries, blocked)
    pq.write_table(table, target.named(QUERIES_PARQUET), compression="zstd")
    known = {query for queries in terms.values() for query in queries}
    record = {
        "inputs": _inputs(source, facts),
        "thresholds": json.loads(to_json(config)) | {"reached_min_pmi": found.min_pmi},
        "words_counted": facts["num_words"],
        "different_words": facts["num_different"],
        "terms_found": {name: len(queries) for name, queries in terms.items()},
        "queries": table.num_rows,
        "queries_by_source": {name: counts[f"source.{name}"] for name in SOURCES},
        "queries_by_all_sources": _combinations(table),
        "dropped": {name.removeprefix("dropped."): n for name, n in sorted(counts.items()) if name[:8] == "dropped."},
        "blocked_in_vain": [line for query, line in blocked.items() if query not in known],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    target.named(QUERIES_JSON).write_text(text, encoding="utf-8")
    return counts


def _candidates(source: Source) -> Iterator[pa.Table]:
    for url in source.urls(BIGRAMS):
        table = read_table(url)
        yield table.filter(table["candidate"]).drop_columns("candidate")


def _measures(terms: Mapping[str, list[str]], vocabulary: pa.Table, source: Source, named: pa.Table) -> Measures:
    """Counts of all terms of one or two words, PMI of those of two, views of titles; 0 of what does not occur."""
    wanted = pa.array(sorted({query for queries in terms.values() for query in queries}), pa.string())
    count = {query: 0 for query in wanted.to_pylist() if query.count(" ") <= 1}
    words = vocabulary.filter(pc.is_in(vocabulary["word"], value_set=wanted))
    count.update(zip(words["word"].to_pylist(), words["count"].to_pylist(), strict=True))
    pmi: dict[str, float] = {}
    for url in source.urls(BIGRAMS):
        part = read_table(url)
        pairs = part.filter(pc.is_in(part["query"], value_set=wanted))
        names = pairs["query"].to_pylist()
        count.update(zip(names, pairs["count"].to_pylist(), strict=True))
        pmi.update(zip(names, pairs["pmi"].to_pylist(), strict=True))
    views = dict(zip(named["query"].to_pylist(), named["views"].to_pylist(), strict=True))
    return Measures(count, pmi, views)


def _inputs(source: Source, facts: Mapping[str, list[dict[str, object]]]) -> list[dict[str, object]]:
    """Role, name, bytes and sha256 of every file that the list was made from."""
    blocks = []
    for url in source.urls(BLOCK_LIST):
        blocks.append({"role": BLOCK_LIST, **InputStream(url).read_through().facts()})
    return [storage.read_json(url) for url in source.urls(FACTS)] + facts["wordnet"] + blocks


def _combinations(table: pa.Table) -> dict[str, int]:
    """How many queries came from exactly these sources, e.g. {"word": 10, "word+synset": 3}."""
    found = Counter("+".join(sources) for sources in table["sources"].to_pylist())
    return dict(sorted(found.items()))


QUERIES: Stage[TermsConfig] = Stage("queries", 2, make_list)
