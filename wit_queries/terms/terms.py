"""The stage "terms": words, titles and synsets over their thresholds, and the vocabulary that pairs are counted in.

Names of WordNet's synsets from its database files (https://wordnet.princeton.edu/documentation/wndb5wn).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit.errors import InputError
from openwit.stage import Source, Stage, Target
from openwit.storage.row_groups import add_up, read_bucket
from openwit.storage.tables import read_table
from wit_queries.terms import titles
from wit_queries.terms.articles import PAGES, WORD_BUCKETS, WORDS
from wit_queries.terms.count_kernel import I64
from wit_queries.terms.word_counts import join_pairs
from wit_queries.text.normalize import normalize
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.dumps import FACTS, SITE, read_site
from wit_queries.wikipedia.page_views import VIEWS_FILE

_SYNSET = re.compile(r"\d{8} \d\d [nvasr] [0-9a-f]{2} ")
_ADJECTIVE_MARK = re.compile(r"\((?:a|p|ip)\)$")


def synset_queries(stream: InputStream, *, only_first: bool) -> list[str]:
    """The normalised lemmas of a file's synsets, sorted, each once; of each synset its first lemma, or all. Raises
    InputError where the file is none of WordNet's data files."""
    text = b"".join(stream.chunks()).decode("utf-8", "replace")
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("  ") or not line:
            continue  # the licence
        if not _SYNSET.match(line):
            raise InputError(
                f"{stream.url}: line {number} is {line[:40]!r}; expected WordNet's data file: offset, file, kind, words"
            )
        fields = line.split(" ")
        num_lemmas = 1 if only_first else int(fields[3], 16)
        found.update(fields[4 : 4 + 2 * num_lemmas : 2])
    if not found:
        raise InputError(f"{stream.url}: holds no synset; expected one of WordNet's data files")
    queries = {normalize(_ADJECTIVE_MARK.sub("", lemma).replace("_", " ")) for lemma in found}
    return sorted(queries - {""})


VOCABULARY, WANTED = ".vocabulary.parquet", ".wanted.parquet"
NAMED, SYNSETS = ".titles.parquet", ".synsets.parquet"
WORDNET = "wordnet"


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The thresholds of all terms but bigrams; see TermsConfig."""

    min_count: int  # of a word in the dump
    min_total_views: int  # of a title in all hours
    wordnet_names: Literal["first", "all"]  # lemmas of each synset


@dataclass(frozen=True)
class TermVocabulary:
    """`table`: word · count, the `num_frequent` words with count >= min_count first, commonest first, then by word;
    behind them the rarer words of titles and synsets. `num_words` and `num_different` are of the whole text."""

    table: pa.Table
    num_frequent: int
    num_words: int
    num_different: int


def collect_terms(config: VocabularyConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the vocabulary (word · count), the wanted pairs (see `wanted_pairs`), titles (query · views) and synsets
    (query); returns counts of terms."""
    streams = [InputStream(url) for url in source.urls(WORDNET)]
    synsets = {q for s in streams for q in synset_queries(s, only_first=config.wordnet_names == "first")}
    counts = Counter({"in": len(synsets), "kept": len(synsets)})
    named = pa.table({"query": pa.array([], pa.string()), "views": pa.array([], pa.int64())})
    if source.inputs[VIEWS_FILE]:
        found = _titles(source, config.min_total_views)
        named = found.table
        counts.update({"in": named.num_rows + found.dropped.total(), "kept": named.num_rows})
        counts.update({f"dropped.title_{reason}": number for reason, number in found.dropped.items()})
    queries = sorted({*synsets, *named["query"].to_pylist()})
    vocabulary = collect_words(
        lambda bucket: add_up((read_bucket(u, bucket, WORD_BUCKETS) for u in source.urls(WORDS)), "word", "count"),
        pa.array(sorted({word for query in queries if query.count(" ") < 2 for word in query.split(" ")}), pa.string()),
        config.min_count,
    )
    rare = vocabulary.num_different - vocabulary.num_frequent
    counts.update({"in": vocabulary.num_different, "kept": vocabulary.num_frequent, "dropped.word_min_count": rare})

    wanted = pa.table({"pair": wanted_pairs(queries, vocabulary.table["word"])})
    synset_table = pa.table({"query": pa.array(sorted(synsets), pa.string())})
    for suffix, table in ((VOCABULARY, vocabulary.table), (WANTED, wanted), (NAMED, named), (SYNSETS, synset_table)):
        pq.write_table(table, target.path(suffix), compression="zstd")
    record = {
        "num_words": vocabulary.num_words,
        "num_different": vocabulary.num_different,
        "num_frequent": vocabulary.num_frequent,
        "wordnet": [{"role": "wordnet", **stream.facts()} for stream in streams],
    }
    target.path(FACTS).write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    return counts


def collect_words(read: Callable[[int], pa.Table], wanted: pa.Array, min_count: int) -> TermVocabulary:
    """The vocabulary of the text whose words (word · count, each once) `read` gives bucket by bucket; of the rarer
    words it has those `wanted`. Raises InputError where no word is frequent (CLIP section 2.2: 100 in English)."""
    frequent, rarer = [], []
    num_words = num_different = highest = 0
    for bucket in range(WORD_BUCKETS):
        table = read(bucket)
        often = pc.greater_equal(table["count"], min_count)
        frequent.append(table.filter(often))
        rarer.append(table.filter(pc.and_not(pc.is_in(table["word"], value_set=wanted), often)))
        num_words += pc.sum(table["count"]).as_py() or 0
        highest = max(highest, pc.max(table["count"]).as_py() or 0)
        num_different += table.num_rows
    first = pa.concat_tables(frequent).sort_by([("count", "descending"), ("word", "ascending")])
    if not first.num_rows:
        raise InputError(
            f"terms.min_count={min_count}: no word of the dump occurs so often (the commonest: {highest} times); "
            "write a smaller one or give a larger dump"
        )
    table = pa.concat_tables([first, pa.concat_tables(rarer).sort_by("word")])
    return TermVocabulary(table, first.num_rows, num_words, num_different)


def wanted_pairs(queries: list[str], words: pa.ChunkedArray) -> I64:
    """Those of the queries that are two words of the vocabulary, each as one number (words.join_pairs), sorted: they
    are counted however rare they are."""
    pairs = [query.split(" ") for query in queries if query.count(" ") == 1]
    first, second = (
        pc.fill_null(pc.index_in(pa.array([pair[n] for pair in pairs], pa.string()), value_set=words), -1).to_numpy()
        for n in (0, 1)
    )
    return np.sort(join_pairs(first, second)[(first >= 0) & (second >= 0)])


def _titles(source: Source, min_total: int) -> titles.Titles:
    views = add_up((read_table(url) for url in source.urls(VIEWS_FILE)), "title", "views")
    main_page = read_site(source.urls(SITE)[0]).main_page
    return titles.title_queries(views, lambda: map(read_table, source.urls(PAGES)), min_total, main_page)


TERMS: Stage[VocabularyConfig] = Stage("terms", 1, collect_terms)
