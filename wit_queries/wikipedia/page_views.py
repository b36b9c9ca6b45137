"""The stage "page views": titles that were looked up often within an hour, from Wikimedia's hourly files.

A file `pageviews-YYYYMMDD-HH0000.gz` has lines `project title views bytes`, titles with underscores for spaces:
https://dumps.wikimedia.org/other/pageviews/readme.html
"""

from __future__ import annotations

import json
import re
from collections import Counter
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from openwit.config import to_json
from openwit.errors import InputError
from openwit.stage import Source, Stage, Target
from openwit.storage.lines import split_lines
from wit_queries.config import ViewsConfig
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.dump import MAIN_NAMESPACE, WikiSite
from wit_queries.wikipedia.dumps import FACTS, read_site

VIEWS_FILE = ".views.parquet"
VIEWS = pa.schema([("title", pa.string()), ("views", pa.int64())])
MAX_BROKEN_SHARE = 0.01

MAX_LINE_BYTES = 1 << 16  # titles have 255 bytes, three letters each when percent-encoded

_LINE = re.compile(rb"(\S+) (\S+) (\d{1,12}) (\d+)$")  # no hour has a million millions of views


def sift_views(config: ViewsConfig, source: Source, target: Target) -> Counter[str]:
    """Writes one hour's titles of the config's projects with enough views; returns counts of lines."""
    stream = InputStream(source.url("views"))
    table, counts = read_views(stream, config.projects, config.min_hourly_views, read_site(source.url("site")))
    pq.write_table(table, target.path(VIEWS_FILE), compression="zstd")
    facts = {"role": "views", **json.loads(to_json(config)), **stream.facts()}
    target.path(FACTS).write_text(json.dumps(facts, ensure_ascii=False) + "\n", encoding="utf-8")
    return counts


def read_views(
    stream: InputStream, projects: tuple[str, ...], min_views: int, site: WikiSite
) -> tuple[pa.Table, Counter[str]]:
    """title · views (VIEWS) of the titles with at least `min_views` in this hour, over all `projects`, sorted by
    title; and the counts of lines. Titles of the site's other namespaces are left out. Raises InputError where the
    file has another format."""
    wanted = {code.encode() for code in projects}
    counts: Counter[str] = Counter()
    views: dict[str, int] = {}
    broken = b""
    for line in split_lines(stream.chunks(), MAX_LINE_BYTES):
        counts["in"] += 1
        match = _LINE.match(line or b"")
        if match is None:
            counts["dropped.broken"] += 1
            broken = broken or line or b"a line without end"
        elif match[1] not in wanted:
            counts["dropped.project"] += 1
        elif site.namespace_of(title := page_title(match[2].decode("utf-8", "replace"))) != MAIN_NAMESPACE:
            counts["dropped.namespace"] += 1
        elif title in views:
            counts["dropped.same_title"] += 1  # its views are added, e.g. those of the mobile page
            views[title] += int(match[3])
        else:
            views[title] = int(match[3])
    if counts["dropped.broken"] > MAX_BROKEN_SHARE * counts["in"] or not counts["in"]:
        found = f"{counts['dropped.broken']} of {counts['in']} lines like {broken[:60].decode('utf-8', 'replace')!r}"
        raise InputError(
            f"{stream.url}: found {found if broken else 'no line'}; expected hourly page views, lines "
            "'project title views bytes'"
        )
    rows = sorted((title, number) for title, number in views.items() if number >= min_views)
    counts["kept"] = len(rows)
    counts["dropped.hourly_views"] = len(views) - len(rows)
    return pa.table([[title for title, _ in rows], [number for _, number in rows]], schema=VIEWS), counts


def page_title(name: str) -> str:
    """A title as the wiki writes it, from its name in an address: spaces, a capital first letter."""
    title = (unquote(name) if "%" in name else name).replace("_", " ").strip()
    return title[:1].upper() + title[1:]


PAGE_VIEWS: Stage[ViewsConfig] = Stage("page views", 3, sift_views)
