"""The bytes of a shard's tar, and the columns of the tables between the stages."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import pyarrow as pa

from datagen.crawl.crawl import COLUMNS as CRAWLED
from datagen.duplicates.embed import VECTORS
from datagen.duplicates.index.fingerprint import INDEX
from datagen.duplicates.overlap.accuracy import CORRECT
from datagen.duplicates.overlap.calibrate import COPIES, OTHERS
from datagen.duplicates.overlap.scan import OVERLAP
from datagen.duplicates.within.find import GATHERED
from datagen.duplicates.within.fingerprint import BANDED, NODES
from datagen.duplicates.within.groups import WITHIN
from datagen.duplicates.within.pairs import PAIRS as COPIED
from datagen.schemas import (
    BRACKETED,
    BRACKETS,
    CANDIDATES,
    CAPTIONS,
    DISTINCT,
    INSIDE,
    MATCHED,
    QUERY_COUNTS,
    RETRIED,
    SELECTED,
    SHUFFLED,
    TEXTS,
    THRESHOLDS,
)
from datagen.schemas import PAIRS as GIVEN
from datagen.shards.exclusions import EXCLUSIONS
from datagen.shards.remove import LOG
from datagen.shards.tombstones import REQUEST
from openwit.shards.tar import PlainTar, members
from wit_queries.terms.articles import PAIR_COUNTS, TITLES, WORD_COUNTS
from wit_queries.terms.bigrams import SCORED
from wit_queries.terms.query_list import QUERY_COLUMNS
from wit_queries.wikipedia.page_views import VIEWS

SAMPLES: list[dict[str, str | bytes]] = [
    {"__key__": "000000000", "jpg": b"\xff\xd8" * 700, "txt": "ein Bär", "json": '{"uid": "a"}'},
    {"__key__": "000000001", "jpg": b"", "txt": "", "json": "{}"},
    {"__key__": "000000002", "jpg": b"x" * 512, "txt": "y" * 513, "json": "{}"},
]
SCHEMAS = {
    "candidates": CANDIDATES, "matched": MATCHED, "shuffled": SHUFFLED, "texts": TEXTS, "distinct": DISTINCT,
    "query_counts": QUERY_COUNTS, "windows": BRACKETS, "narrowed": BRACKETED, "thresholds": THRESHOLDS,
    "selected": SELECTED, "retried": RETRIED, "crawled": CRAWLED, "given": GIVEN, "removed": LOG, "request": REQUEST,
    "correct": CORRECT, "copies": COPIES, "others": OTHERS, "vectors": VECTORS, "index": INDEX, "overlap": OVERLAP,
    "exclusions": EXCLUSIONS, "banded": BANDED, "nodes": NODES, "within": WITHIN, "gathered": GATHERED,
    "copied": COPIED, "word_counts": WORD_COUNTS, "pair_counts": PAIR_COUNTS, "titles": TITLES, 
    "queries": QUERY_COLUMNS,
    "views": VIEWS, "scored": SCORED,
}  # fmt: skip


def test_a_shard_s_tar_is_the_bytes_that_it_was(golden: Callable[[str, object], None]) -> None:
    buffer = io.BytesIO()
    tar = PlainTar(buffer)
    for sample in SAMPLES:
        tar.write(sample)
    tar.close()
    data = buffer.getvalue()
    listed = [list(member) for member in members(io.BytesIO(data))]
    golden("tar", {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "members": listed})


def test_the_columns_of_every_table_are_what_they_were(golden: Callable[[str, object], None]) -> None:
    golden("schemas", {name: fields(schema) for name, schema in SCHEMAS.items()})
    assert str(SELECTED.field("captions").type) == str(CAPTIONS)
    assert str(BRACKETED.field("inside").type) == str(INSIDE)


def fields(schema: pa.Schema) -> list[list[str]]:
    return [[field.name, str(field.type)] for field in schema]
