"""Pairs from Common Crawl's WAT files: the image links that a crawl saw in its pages, with alt texts or titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from datagen.sources.links import IMAGE_PATH, LinkTable
from datagen.sources.warc import read_records
from openwit import storage
from openwit.errors import InputError

BATCH_BYTES = 4 << 20  # of URLs, or of captions, a table
_METADATA = re.compile(rb"\r\nWARC-Type:[ \t]*metadata", re.IGNORECASE)
_ADDRESS = re.compile(rb"\r\nWARC-Target-URI:[ \t]*<?([^\r\n>]*)", re.IGNORECASE)


def read_wat(url: str, counts: Counter[str]) -> Iterator[pa.Table]:
    """The image links of a WAT file in its order, in tables of the columns PAIRS; `place` is the record's offset.

    Damaged records are counted (`records_damaged`), the rest of the file is kept; of a file that breaks off, all
    before the end is kept (`files_truncated`). Raises InputError where the file is missing or holds no WARC records.
    """
    table = LinkTable(BATCH_BYTES)
    with storage.open_input(url) as stream:
        for record in read_records(url, stream, IMAGE_PATH.encode(), counts):
            if not _METADATA.search(record.header):
                continue
            if not table.has_room(record.body):
                yield table.take(counts)
                table = LinkTable(max(BATCH_BYTES, len(record.body)))
            address = _ADDRESS.search(record.header)
            page = address[1].decode("utf-8", "replace") if address else ""
            table.add(record.body, page, record.offset, counts)
    if len(last := table.take(counts)):
        yield last
    if not counts["records"]:
        raise InputError(f"{url}: no WAT record in it; expected WARC metadata records as Common Crawl writes them")
