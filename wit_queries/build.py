"""The stages that make the list of queries: dumps are counted, page views are sifted, and both become one list."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit import storage
from openwit.config import to_json
from openwit.errors import InputError
from openwit.manifest import Manifest
from openwit.run import Run
from openwit.stage import Input, Source, Stage, Target
from openwit.tables import read_table
from wit_queries import bigrams, inputs, merge, titles, wordnet, words
from wit_queries.config import PagesConfig, QueriesConfig, TermsConfig, ViewsConfig
from wit_queries.dump import MAIN_NAMESPACE, BrokenPage, Dump
from wit_queries.streams import InputStream
from wit_queries.summary import summarize
from wit_queries.wikitext import plain_text

__all__ = ["build_queries", "summarize"]

WORDS, PAIRS, PAGES = ".words.parquet", ".pairs.parquet", ".pages.parquet"
VIEWS, FACTS = ".views.parquet", ".facts.json"


def build_queries(run: Run, config: QueriesConfig) -> Manifest:
    """The manifest of the work folder's queries/, which holds queries.parquet (merge.QUERIES) and queries.json
    (inputs with sizes and sha256, thresholds, counts a source). Raises InputError for missing inputs, WorkError
    where a dump, a view file or a threshold is wrong."""
    dumps = inputs.dump_urls(config.dumps)
    view_files = inputs.view_urls(config.view_files)
    synsets = inputs.wordnet_urls(config.wordnet)

    counts_folder = run.folder("queries", "counts")
    counted = run.stage(ARTICLES, config.pages, _one_each("dump", dumps), counts_folder)
    roles = {suffix: _made(counts_folder, counted, suffix) for suffix in (WORDS, PAIRS, PAGES)}
    facts = _made(counts_folder, counted, FACTS)
    if view_files:
        views_folder = run.folder("queries", "views")
        sifted = run.stage(PAGE_VIEWS, config.views, _one_each("views", view_files), views_folder)
        roles[VIEWS] = _made(views_folder, sifted, VIEWS)
        facts += _made(views_folder, sifted, FACTS)
    roles |= {FACTS: facts, "wordnet": tuple(map(Input.outside, synsets))}
    return run.stage(QUERIES, config.terms, [Source(index=0, inputs=roles)], run.folder("queries"))


def count_articles(config: PagesConfig, source: Source, target: Target) -> Counter[str]:
    """Counts the words and pairs of a dump's articles, and lists its titles and redirects; counts of pages."""
    dump = Dump(source.url("dump"), config.max_page_mb << 20)
    text = words.TextCounts()
    counts: Counter[str] = Counter()
    namespaces: Counter[int] = Counter()
    rows: list[tuple[str, str | None]] = []
    for page in dump.pages():
        counts["in"] += 1
        if isinstance(page, BrokenPage):
            counts["dropped.broken"] += 1
            continue
        namespaces[page.namespace] += 1
        if page.namespace != MAIN_NAMESPACE:
            counts["dropped.namespace"] += 1
        elif page.redirect is not None:
            counts["dropped.redirect"] += 1
            goal = page.redirect.partition("#")[0].strip()
            if goal and dump.site.namespace_of(goal) == MAIN_NAMESPACE:
                rows.append((page.title, goal))
        else:
            counts["kept"] += 1
            rows.append((page.title, None))
            text.add(plain_text(page.text, dump.site.hidden_prefixes()))
    _write(text.word_table(), target.path(WORDS))
    _write(text.pair_table(), target.path(PAIRS))
    _write(pa.table([[row[0] for row in rows], [row[1] for row in rows]], schema=titles.PAGES), target.path(PAGES))
    facts = {"role": "dump", "language": dump.site.language, "words": text.words.total()}
    _write_facts(target, dump.stream, facts | {"namespaces": {str(n): namespaces[n] for n in sorted(namespaces)}})
    return counts


def sift_views(config: ViewsConfig, source: Source, target: Target) -> Counter[str]:
    """Keeps one hour's titles of the config's projects with enough views; counts of lines."""
    stream = InputStream(source.url("views"))
    table, counts = titles.read_views(stream, config.projects, config.min_hourly_views)
    _write(table, target.path(VIEWS))
    _write_facts(target, stream, {"role": "views", **json.loads(to_json(config))})
    return counts


def make_list(config: TermsConfig, source: Source, target: Target) -> Counter[str]:
    """Takes the terms over their thresholds from all sources and merges them; counts of terms."""
    facts = [storage.read_json(url) for url in source.urls(FACTS)]
    all_words = words.add_up(_tables(source, WORDS))
    all_pairs = words.add_up(_tables(source, PAIRS))
    num_words = int(pc.sum(all_words["count"]).as_py() or 0)
    _check_articles(facts, num_words)

    frequent = words.frequent_words(all_words, config.min_count)
    found = bigrams.select(
        bigrams.score(all_pairs, frequent, num_words),
        min_count=config.min_bigram_count,
        min_pmi=config.min_pmi,
        target=config.num_bigrams,
        num_words=num_words,
    )
    named = titles.Titles(pa.table({"query": [], "views": []}), Counter())
    if VIEWS in source.inputs:
        pages = pa.concat_tables(_tables(source, PAGES))
        named = titles.title_queries(pa.concat_tables(_tables(source, VIEWS)), pages, config.min_total_views)
    streams = [InputStream(url) for url in source.urls("wordnet")]
    synsets = {q for s in streams for q in wordnet.synset_queries(s, only_first=config.wordnet_names == "first")}

    terms = {
        "word": frequent["word"].to_pylist(),
        "bigram": found.table["query"].to_pylist(),
        "title": named.table["query"].to_pylist(),
        "synset": sorted(synsets),
    }
    measures = _measures(terms, all_words, all_pairs, named)
    terms["synset"].sort(key=lambda query: -measures.count.get(query, 0))
    table, counts = merge.merge(terms, measures, config.max_queries)
    _write(table, target.named(merge.QUERIES_PARQUET))
    record = {
        "inputs": facts + [{"role": "wordnet", **stream.facts()} for stream in streams],
        "thresholds": json.loads(to_json(config)) | {"reached_min_pmi": found.min_pmi},
        "words_counted": num_words,
        "terms_found": {name: len(queries) for name, queries in terms.items()},
        "titles_dropped": dict(sorted(named.dropped.items())),
        "queries": table.num_rows,
        "queries_by_source": {name: counts[f"source.{name}"] for name in merge.SOURCES},
    }
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    target.named(merge.QUERIES_JSON).write_text(text, encoding="utf-8")
    return counts


ARTICLES: Stage[PagesConfig] = Stage("articles", 1, count_articles)
PAGE_VIEWS: Stage[ViewsConfig] = Stage("page views", 1, sift_views)
QUERIES: Stage[TermsConfig] = Stage("queries", 1, make_list)


def _measures(
    terms: dict[str, list[str]], all_words: pa.Table, all_pairs: pa.Table, named: titles.Titles
) -> merge.Measures:
    """Counts of all terms of one or two words, PMI of those of two, views of titles."""
    wanted = pa.array(sorted({query for queries in terms.values() for query in queries}), pa.string())
    single = all_words.filter(pc.is_in(all_words["word"], value_set=wanted))
    joined = pc.binary_join_element_wise(all_pairs["first"], all_pairs["second"], " ")
    pairs = bigrams.score(
        all_pairs.filter(pc.is_in(joined, value_set=wanted)), all_words, pc.sum(all_words["count"]).as_py()
    )
    count = dict(zip(single["word"].to_pylist(), single["count"].to_pylist(), strict=True))
    names = pairs["query"].to_pylist()
    count |= dict(zip(names, pairs["count"].to_pylist(), strict=True))
    count |= {query: 0 for query in wanted.to_pylist() if query.count(" ") <= 1 and query not in count}
    pmi = dict(zip(names, pairs["pmi"].to_pylist(), strict=True))
    return merge.Measures(count, pmi, dict(zip(*(named.table[c].to_pylist() for c in ("query", "views")), strict=True)))


def _check_articles(facts: list[dict[str, Any]], num_words: int) -> None:
    if num_words:
        return
    names = ", ".join(entry["name"] for entry in facts if entry["role"] == "dump")
    spaces = sorted({int(key) for entry in facts for key in entry.get("namespaces", {})})
    found = f"namespaces {', '.join(map(str, spaces))}" if spaces else "no page"
    raise InputError(f"{names}: found {found}; expected articles (namespace 0, no redirects) with text")


def _one_each(role: str, urls: Iterable[str]) -> list[Source]:
    return [Source(index=index, inputs={role: (Input.outside(url),)}) for index, url in enumerate(urls)]


def _made(folder: str, manifest: Manifest, suffix: str) -> tuple[Input, ...]:
    return tuple(Input.made(folder, part.file(suffix)) for part in manifest.parts)


def _tables(source: Source, role: str) -> list[pa.Table]:
    return [read_table(url) for url in source.urls(role)]


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _write_facts(target: Target, stream: InputStream, facts: dict[str, object]) -> None:
    record = {**facts, **stream.facts()}
    target.path(FACTS).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
