"""Names of articles that people look up: titles with their page views, led to their articles by the redirects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from openwit.errors import InputError
from wit_queries.terms.articles import TITLES
from wit_queries.text.normalize import normalize

MAX_REDIRECTS = 5
ROWS_AT_ONCE = 1 << 20

_BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")


def without_brackets(title: str) -> str:
    """A title without the closing brackets that tell it from its namesakes: Mercury (planet) -> Mercury."""
    return _BRACKETS.sub("", title) or title


@dataclass(frozen=True)
class Titles:
    """`table`: query · views, most viewed first, then by text; `dropped`: titles by reason."""

    table: pa.Table
    dropped: Counter[str]


def title_queries(
    views: pa.Table, pages: Callable[[], Iterable[pa.Table]], min_total: int, main_page: str = ""
) -> Titles:
    """The names of the articles whose `views` (VIEWS, each title once), those of redirects to them added, come to
    `min_total`; not that of the main page. `pages` gives the tables (articles.TITLES) of all articles and redirects,
    as often as it is called. Raises InputError where no article has so many."""
    titles = views["title"].combine_chunks()
    viewed = pa.table({"title": _resolve(titles, _relevant(titles, pages)), "views": views["views"]})
    articles = viewed.filter(pc.is_valid(viewed["title"]))
    known = articles.filter(pc.not_equal(articles["title"], main_page))
    totals = known.group_by("title", use_threads=False).aggregate([("views", "sum")])
    often = totals.filter(pc.greater_equal(totals["views_sum"], min_total))
    dropped = Counter(
        no_article=views.num_rows - articles.num_rows,
        main_page=articles.num_rows - known.num_rows,
        redirect=known.num_rows - totals.num_rows,
        total_views=totals.num_rows - often.num_rows,
    )
    if not often.num_rows:
        highest = pc.max(totals["views_sum"]).as_py() or 0
        raise InputError(
            f"terms.min_total_views={min_total}: none of the {views.num_rows} viewed titles is an article of the dump "
            f"with so many views (the most: {highest}); write a smaller one, or view files of the dump's own wiki"
        )
    queries: Counter[str] = Counter()
    for title, number in zip(often["title"].to_pylist(), often["views_sum"].to_pylist(), strict=True):
        query = normalize(without_brackets(title))
        if not query:
            dropped["no_words"] += 1
        elif query in queries:
            dropped["namesake"] += 1  # its views are added
        queries[query] += number
    del queries[""]
    rows = sorted(queries.items(), key=lambda row: (-row[1], row[0]))
    table = pa.table({"query": [row[0] for row in rows], "views": pa.array([row[1] for row in rows], pa.int64())})
    return Titles(table, dropped)


def _relevant(titles: pa.Array, pages: Callable[[], Iterable[pa.Table]]) -> pa.Table:
    """The rows of `titles` and of all that they lead to, looked up in one round for each redirect on the way: the
    millions of other pages are not held."""
    found: list[pa.Table] = []
    seen = pa.array([], pa.string())
    for _ in range(MAX_REDIRECTS + 1):
        new = [batch.filter(pc.is_in(batch["title"], value_set=titles)) for batch in _batches(pages())]
        found += new
        seen = pa.concat_arrays([seen, titles])
        targets = pc.unique(pa.concat_tables([TITLES.empty_table(), *new])["redirect"]).drop_null()
        titles = targets.filter(pc.invert(pc.is_in(targets, value_set=seen)))
        if not len(titles):
            break
    return pa.concat_tables([TITLES.empty_table(), *found])


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_AT_ONCE or more: each look-up builds its index anew."""
    parts: list[pa.Table] = []
    for table in tables:
        parts.append(table)
        if sum(part.num_rows for part in parts) >= ROWS_AT_ONCE:
            yield pa.concat_tables(parts)
            parts = []
    if parts:
        yield pa.concat_tables(parts)


def _resolve(titles: pa.Array, pages: pa.Table) -> pa.Array:
    """For each title the article that it is or leads to; null where it is none. The target of a redirect counts
    as an article even where this dump, an excerpt, lacks it."""
    names, targets = pages["title"].combine_chunks(), pages["redirect"].combine_chunks()
    place = pc.index_in(titles, value_set=names)
    current = pc.if_else(pc.is_valid(place), titles, pa.scalar(None, pa.string()))
    for _ in range(MAX_REDIRECTS):
        target = targets.take(place)
        if target.null_count == len(target):
            return current
        current = pc.coalesce(target, current)
        place = pc.index_in(current, value_set=names)
    leads_on = pc.is_valid(targets.take(place))
    return pc.if_else(leads_on, pa.scalar(None, pa.string()), current)
