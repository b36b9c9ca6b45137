"""WAT files → matched pairs, in one pass: what does not match is never written."""

from __future__ import annotations

import functools
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.config import CandidatesConfig
from datagen.schemas import MATCHED, pair_uid, url_hash
from datagen.sources import wat
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table
from wit_queries.matcher import QueryMatcher
from wit_queries.normalize import words

FILE_NAME = re.compile(r"[\w%+.-]+\.(jpe?g|png|gif|webp|svg|bmp|tiff?|avif)", re.IGNORECASE)
CAMERA_NAME = re.compile(r"(img|dsc|dscn|dscf|pict?|image|photo|screenshot)[\s_-]*\d+", re.IGNORECASE)
BOILERPLATE = frozenset(
    "image img photo picture pic logo icon banner avatar thumbnail thumb spacer pixel blank placeholder advertisement "
    "ad loading untitled".split()
)
Row = tuple[str, str, str, str, str]


def process(config: CandidatesConfig, source: Source, target: Target) -> Counts:
    """Writes the matched pairs of one WAT file (columns MATCHED), one row group for each partition of image URLs,
    sorted by uid within. Every image link is counted: kept, or dropped with a reason."""
    counts: Counts = Counter({"in": 0, "kept": 0})
    matcher = _matcher(source.url("queries"))
    rows: list[Row] = []
    for candidate in wat.read_candidates(source.url("wat"), counts):
        counts["in"] += 1
        reason = candidate.reason or caption_fault(config, candidate.caption)
        if reason:
            counts[f"dropped.{reason}"] += 1
        else:
            url, caption, page, place, _ = candidate
            rows.append((pair_uid(url, caption), url, caption, page, place))
    matches = matcher.match([row[2] for row in rows])
    found = [(row, query_ids) for row, query_ids in zip(rows, matches, strict=True) if query_ids]
    counts["kept"] = len(found)
    counts["dropped.no_match"] = len(rows) - len(found)
    counts["matches"] = sum(len(query_ids) for _, query_ids in found)
    _write(config, found, target)
    return counts


STAGE: Stage[CandidatesConfig] = Stage("match", 1, process)


def caption_fault(config: CandidatesConfig, caption: str) -> str:
    """Why a caption is not worth matching, or an empty text."""
    if not caption:
        return "no_alt"
    if len(caption) > config.max_caption_chars:
        return "caption_too_long"
    tokens = words(caption)
    if len(tokens) < config.min_caption_words:
        return "caption_too_short"
    if config.drop_boilerplate and is_boilerplate(caption, tokens):
        return "boilerplate"
    return ""


def is_boilerplate(caption: str, tokens: list[str]) -> bool:
    """Whether a caption is a file name, a camera's number, or only words like "image" and "logo"."""
    if FILE_NAME.fullmatch(caption) or CAMERA_NAME.fullmatch(caption):
        return True
    return all(token in BOILERPLATE for token in tokens)


@functools.cache
def _matcher(queries_url: str) -> QueryMatcher:
    return QueryMatcher(read_table(queries_url, ["query"])["query"].to_pylist())


def _write(config: CandidatesConfig, found: list[tuple[Row, list[int]]], target: Target) -> None:
    partitions: list[list[tuple[Row, list[int]]]] = [[] for _ in range(config.num_partitions)]
    for entry in found:
        partitions[url_hash(entry[0][1]) % config.num_partitions].append(entry)
    with pq.ParquetWriter(target.path(".parquet"), MATCHED, compression="zstd") as writer:
        for entries in partitions:
            entries.sort(key=lambda entry: (entry[0][0], entry[0][4]))
            columns: list[list[object]] = [list(column) for column in zip(*(row for row, _ in entries), strict=True)]
            columns = columns or [[] for _ in range(5)]
            columns.append([query_ids for _, query_ids in entries])
            table = pa.table(columns, schema=MATCHED)
            writer.write_table(table, row_group_size=max(1, len(table)))
