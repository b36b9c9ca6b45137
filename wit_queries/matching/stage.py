"""The matcher of a run's queries: built once, then mapped into memory by every worker of a machine."""

from __future__ import annotations

import functools
from collections import Counter

from openwit import storage
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.tables import read_table
from wit_queries.config import MatcherConfig
from wit_queries.matching import table as match_table
from wit_queries.matching.matcher import QueryMatcher

NAME = "queries.table"


def process(config: MatcherConfig, source: Source, target: Target) -> Counts:
    """Writes the table of the queries; a query's id is its row."""
    queries = read_table(source.url("queries"), ["query"])["query"].to_pylist()
    QueryMatcher(queries, config.mode).save(str(target.named(NAME)))
    return Counter({"in": len(queries), "kept": len(queries)})


STAGE: Stage[MatcherConfig] = Stage("query table", match_table.VERSION, process)


@functools.cache
def open_matcher(table: Input) -> QueryMatcher:
    """The matcher, one a process, its memory shared by all processes of the machine. A remote table is copied there
    once."""
    return QueryMatcher.open(str(storage.fetched_once(table.url, table.identity)))
