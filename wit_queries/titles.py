"""Names of articles that people look up, from Wikimedia's hourly page view files.

A file `pageviews-YYYYMMDD-HH0000.gz` has lines `project title views bytes`, titles with underscores for spaces:
https://dumps.wikimedia.org/other/pageviews/readme.html
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from openwit.errors import InputError
from wit_queries.dump import CANONICAL_NAMESPACES
from wit_queries.normalize import normalize
from wit_queries.streams import InputStream

VIEWS = pa.schema([("title", pa.string()), ("views", pa.int64())])
PAGES = pa.schema([("title", pa.string()), ("redirect", pa.string())])
MAX_BROKEN_SHARE = 0.01
MAX_REDIRECTS = 5

_LINE = re.compile(rb"(\S+) (\S+) (\d+) (\d+)$")
_BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")


def read_views(stream: InputStream, projects: tuple[str, ...], min_views: int) -> tuple[pa.Table, Counter[str]]:
    """title · views (VIEWS) of the titles with at least `min_views` in this hour, over all `projects`, sorted by
    title; and the counts of lines. Raises InputError where the file has another format."""
    wanted = {code.encode() for code in projects}
    counts: Counter[str] = Counter()
    views: Counter[str] = Counter()
    num_lines: Counter[str] = Counter()
    broken = b""
    for line in _lines(stream):
        counts["in"] += 1
        match = _LINE.match(line)
        if match is None:
            counts["dropped.broken"] += 1
            broken = broken or line
        elif match[1] not in wanted:
            counts["dropped.project"] += 1
        elif (title := page_title(match[2].decode("utf-8", "replace"))).partition(":")[0] in CANONICAL_NAMESPACES:
            counts["dropped.namespace"] += 1
        else:
            views[title] += int(match[3])
            num_lines[title] += 1
    if counts["dropped.broken"] > MAX_BROKEN_SHARE * counts["in"] or not counts["in"]:
        found = f"{counts['dropped.broken']} of {counts['in']} lines like {broken[:60].decode('utf-8', 'replace')!r}"
        raise InputError(
            f"{stream.url}: found {found if broken else 'no line'}; expected hourly page views, lines "
            "'project title views bytes'"
        )
    rows = sorted((title, number) for title, number in views.items() if number >= min_views)
    counts["kept"] = sum(num_lines[title] for title, _ in rows)
    counts["dropped.hourly_views"] = num_lines.total() - counts["kept"]
    counts["rows"] = len(rows)
    return pa.table([[title for title, _ in rows], [number for _, number in rows]], schema=VIEWS), counts


def page_title(name: str) -> str:
    """A title as the wiki writes it, from its name in an address: spaces, a capital first letter."""
    title = (unquote(name) if "%" in name else name).replace("_", " ").strip()
    return title[:1].upper() + title[1:]


def without_brackets(title: str) -> str:
    """A title without the closing brackets that tell it from its namesakes: Mercury (planet) -> Mercury."""
    return _BRACKETS.sub("", title) or title


@dataclass(frozen=True)
class Titles:
    """`table`: query · views, most viewed first, then by text; `dropped`: titles by reason."""

    table: pa.Table
    dropped: Counter[str]


def title_queries(views: pa.Table, pages: pa.Table, min_total: int) -> Titles:
    """The names of the articles among `pages` (PAGES: title, redirect or null) whose `views`, redirects' views
    added to their targets', come to `min_total`. Raises InputError where none does."""
    hours = views.group_by("title", use_threads=False).aggregate([("views", "sum")])
    articles = _resolve(hours["title"].combine_chunks(), pages)
    viewed = pa.table({"title": articles, "views": hours["views_sum"]})
    known = viewed.filter(pc.is_valid(viewed["title"]))
    dropped = Counter({"no_article": viewed.num_rows - known.num_rows})
    totals = known.group_by("title", use_threads=False).aggregate([("views", "sum")])
    often = totals.filter(pc.greater_equal(totals["views_sum"], min_total))
    dropped["total_views"] = totals.num_rows - often.num_rows
    if not often.num_rows:
        highest = pc.max(totals["views_sum"]).as_py() or 0
        raise InputError(
            f"terms.min_total_views={min_total}: none of the {hours.num_rows} viewed titles is an article of the dump "
            f"with so many views (the most: {highest}); write a smaller one, or view files of the dump's own wiki"
        )
    queries: Counter[str] = Counter()
    for title, number in zip(often["title"].to_pylist(), often["views_sum"].to_pylist(), strict=True):
        query = normalize(without_brackets(title))
        if query:
            queries[query] += number
        else:
            dropped["no_words"] += 1
    rows = sorted(queries.items(), key=lambda row: (-row[1], row[0]))
    table = pa.table({"query": [row[0] for row in rows], "views": pa.array([row[1] for row in rows], pa.int64())})
    return Titles(table, dropped)


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


def _lines(stream: InputStream) -> Iterator[bytes]:
    rest = b""
    for chunk in stream.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
