"""The stage "articles": words and pairs of a part of a dump, counted, and the titles of its articles and redirects."""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openwit.stage import Source, Stage, Target
from openwit.storage.row_groups import write_buckets
from wit_queries.config import PagesConfig
from wit_queries.terms.word_counts import Counted, TextCounts, split_pairs
from wit_queries.wikipedia.dump import MAIN_NAMESPACE, BrokenPage, Dump, WikiPage, WikiSite
from wit_queries.wikipedia.wikitext import plain_text

WORDS, PAIRS, PAGES = ".words.parquet", ".pairs.parquet", ".pages.parquet"
WORD_COUNTS = pa.schema([("word", pa.string()), ("count", pa.int64())])
PAIR_COUNTS = pa.schema([("first", pa.int32()), ("second", pa.int32()), ("count", pa.int32())])
TITLES = pa.schema([("title", pa.string()), ("redirect", pa.string())])
WORD_BUCKETS = 16
TITLES_AT_ONCE = 50_000


def count_articles(config: PagesConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the counts of the words and pairs of a dump part's articles, and its titles; returns counts of pages.

    .words.parquet: word · count, each run in WORD_BUCKETS row groups by the words' hashes; .pairs.parquet: first ·
    second · count, a run a row group, words by their place in the run's words; .pages.parquet: title · redirect.
    """
    dump = Dump(source.url("dump"), config.max_page_mb << 20, source.input("dump").span)
    counts: Counter[str] = Counter()
    with CountFiles(target, counts) as files:
        text = TextCounts(files.add_run, config.memory_mb << 20)
        for page in dump.pages():
            counts["in"] += 1
            if isinstance(page, BrokenPage):
                counts["dropped.broken"] += 1
                continue
            counts[f"namespace.{page.namespace}"] += 1
            if page.namespace != MAIN_NAMESPACE:
                counts["dropped.namespace"] += 1
            elif page.redirect is not None:
                counts["dropped.redirect"] += 1
                files.add_redirect(page, dump.site)
            else:
                counts["kept"] += 1
                files.add_title(page.title, None)
                text.add(plain_text(page.text, dump.site.hidden_prefixes()))
        text.finish()
    return counts


class CountFiles(contextlib.ExitStack):
    """The three files of a partition, written a run or some titles at a time; `counts` grows by what is in them."""

    def __init__(self, target: Target, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts
        self._words, self._pairs, self._pages = (
            self.enter_context(pq.ParquetWriter(target.path(suffix), schema, compression="zstd"))
            for suffix, schema in ((WORDS, WORD_COUNTS), (PAIRS, PAIR_COUNTS), (PAGES, TITLES))
        )
        self._titles: list[tuple[str, str | None]] = []
        self.callback(self._write_titles)

    def add_run(self, run: Counted) -> None:
        """Writes a run's words and pairs."""
        order = write_buckets(self._words, run.words, run.hashes >> np.uint64(60), WORD_BUCKETS)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        first, second = (place[numbers] for numbers in split_pairs(run.pairs))
        pairs = pa.table([first, second, run.pair_counts], schema=PAIR_COUNTS)
        self._pairs.write_table(pairs, row_group_size=max(1, len(pairs)))
        self._counts.update(runs=1, words=pc.sum(run.words["count"]).as_py(), pairs=len(pairs))

    def add_redirect(self, page: WikiPage, site: WikiSite) -> None:
        """Notes where a redirect leads, if that can be an article."""
        goal = (page.redirect or "").partition("#")[0].strip()
        if goal and site.namespace_of(goal) == MAIN_NAMESPACE:
            self.add_title(page.title, goal)

    def add_title(self, title: str, redirect: str | None) -> None:
        """Notes the title of an article (`redirect` None) or of a redirect."""
        self._titles.append((title, redirect))
        if len(self._titles) == TITLES_AT_ONCE:
            self._write_titles()

    def _write_titles(self) -> None:
        if self._titles:
            columns = [[row[0] for row in self._titles], [row[1] for row in self._titles]]
            self._pages.write_table(pa.table(columns, schema=TITLES))
            self._titles = []


ARTICLES: Stage[PagesConfig] = Stage("articles", 3, count_articles)
