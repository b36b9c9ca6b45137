"""Files of pairs → those that match a query, in one pass: what does not match is never written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import MatchConfig
from datagen.match import filters
from datagen.match.urls import kind_of, resolve_all
from datagen.schemas import CANDIDATES, MATCHED, pair_uids
from datagen.sources.columns import Wanted
from datagen.sources.tables import read_pairs
from datagen.sources.wat import read_wat
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import one_chunk
from wit_queries.matching.stage import open_matcher

GROUP_ROWS = 1 << 16  # of a row group: as many are held before they are written


def match_file(config: MatchConfig, source: Source, target: Target) -> Counts:
    """Writes the pairs of one file that match a query, in its order (columns MATCHED). Every pair is counted: kept, or
    dropped under the first reason that holds: a fault of the caption, no match, a fault of the URL."""
    matcher = open_matcher(source.input("matcher"))
    counts: Counts = Counter({"in": 0, "kept": 0, "matches": 0})

    def matched() -> Iterator[pa.Table]:
        for pairs in _with_captions(config, source, counts):
            query_ids = matcher.match_array(one_chunk(pairs["caption"]))
            found = pc.greater(pc.list_value_length(query_ids), 0)
            pairs = pairs.append_column("query_ids", query_ids).filter(found)
            counts["dropped.no_match"] += len(found) - len(pairs)
            pairs = _finished(config, source, pairs, counts)
            counts["matches"] += pc.sum(pc.list_value_length(pairs["query_ids"])).as_py() or 0
            yield pairs

    _write(matched(), MATCHED, target, counts)
    return counts


def list_file(config: MatchConfig, source: Source, target: Target) -> Counts:
    """Writes all pairs of one file that are worth matching (columns CANDIDATES), and counts them as match_file does."""
    counts: Counts = Counter({"in": 0, "kept": 0})
    pairs = (_finished(config, source, pairs, counts) for pairs in _with_captions(config, source, counts))
    _write(pairs, CANDIDATES, target, counts)
    return counts


MATCH: Stage[MatchConfig] = Stage("match", 3, match_file)
LIST: Stage[MatchConfig] = Stage("candidates", 2, list_file)


def _with_captions(config: MatchConfig, source: Source, counts: Counts) -> Iterator[pa.Table]:
    """The file's pairs, their captions clean and worth matching."""
    url = source.url("pairs")
    kind = kind_of(url, config.kind)
    wanted = Wanted(config.url_column, config.caption_column)
    for pairs in read_wat(url, counts) if kind == "wat" else read_pairs(url, kind, wanted, counts):
        counts["in"] += len(pairs)
        pairs = filters.without(pairs, filters.missing_captions(pairs), counts)
        captions = filters.clean_captions(one_chunk(pairs["caption"]))
        pairs = pairs.set_column(pairs.column_names.index("caption"), "caption", captions)
        yield filters.without(pairs, filters.caption_faults(config.candidates, pairs), counts)


def _finished(config: MatchConfig, source: Source, pairs: pa.Table, counts: Counts) -> pa.Table:
    """The pairs with absolute URLs, uids and their origin; those with faulty URLs are dropped."""
    urls = resolve_all(one_chunk(pairs["base_url"]), one_chunk(pairs["url"]))
    pairs = pairs.set_column(pairs.column_names.index("url"), "url", urls)
    pairs = filters.without(pairs, filters.url_faults(config.candidates, pairs["url"]), counts)
    name = source.url("pairs").rsplit("/", 1)[-1]
    columns = {
        "uid": pair_uids(one_chunk(pairs["url"]), one_chunk(pairs["caption"])),
        "source": pc.binary_join_element_wise(name, pairs["place"].cast(pa.string()), "#"),
    }
    for column, values in columns.items():
        pairs = pairs.append_column(column, values)
    return pairs


def _write(tables: Iterator[pa.Table], schema: pa.Schema, target: Target, counts: Counts) -> None:
    """Writes the tables' columns of the schema in row groups of GROUP_ROWS or a little more."""
    held: list[pa.Table] = []
    repeated = [name for name in schema.names if name in ("caption_from", "page_url", "source")]
    with pq.ParquetWriter(target.path(".parquet"), schema, compression="zstd", use_dictionary=repeated) as writer:
        for table in tables:
            held.append(table.select(schema.names).cast(schema))
            counts["kept"] += len(table)
            if sum(map(len, held)) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))
