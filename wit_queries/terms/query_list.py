"""The stage "queries": the bigrams are chosen, and all terms become one list with the reason for each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit import storage
from openwit.config import to_json
from openwit.stage import Source, Stage, Target
from openwit.tables import read_table
from wit_queries import bigrams, merge
from wit_queries.block_list import read_block_list
from wit_queries.config import TermsConfig
from wit_queries.dumps import FACTS
from wit_queries.pairs import BIGRAMS
from wit_queries.streams import InputStream
from wit_queries.terms import NAMED, SYNSETS, VOCABULARY

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
    terms["synset"].sort(key=lambda query: -measures.count.get(query, 0))
    blocked = {query: line for url in source.urls(BLOCK_LIST) for query, line in read_block_list(url).items()}
    table, counts = merge.merge(terms, measures, config.max_queries, blocked)
    pq.write_table(table, target.named(merge.QUERIES_PARQUET), compression="zstd")
    known = {query for queries in terms.values() for query in queries}
    record = {
        "inputs": _inputs(source, facts),
        "thresholds": json.loads(to_json(config)) | {"reached_min_pmi": found.min_pmi},
        "words_counted": facts["num_words"],
        "different_words": facts["num_different"],
        "terms_found": {name: len(queries) for name, queries in terms.items()},
        "queries": table.num_rows,
        "queries_by_source": {name: counts[f"source.{name}"] for name in merge.SOURCES},
        "queries_by_all_sources": _combinations(table),
        "dropped": {name.removeprefix("dropped."): n for name, n in sorted(counts.items()) if name[:8] == "dropped."},
        "blocked_in_vain": [line for query, line in blocked.items() if query not in known],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    target.named(merge.QUERIES_JSON).write_text(text, encoding="utf-8")
    return counts


def _candidates(source: Source) -> Iterator[pa.Table]:
    for url in source.urls(BIGRAMS):
        table = read_table(url)
        yield table.filter(table["candidate"]).drop_columns("candidate")


def _measures(terms: Mapping[str, list[str]], vocabulary: pa.Table, source: Source, named: pa.Table) -> merge.Measures:
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
    return merge.Measures(count, pmi, views)


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
