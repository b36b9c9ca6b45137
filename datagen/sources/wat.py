"""Pairs from Common Crawl's WAT files: the image links that a crawl saw in its pages, with alt texts or titles.

The image links of WAT records as tables: by a kernel over their bytes, or by parsing a record whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from datagen.schemas import PAIRS
from datagen.sources.entities import resolve_all_entities, resolve_entities
from datagen.sources.link_kernel import scan_links
from datagen.sources.warc import read_records
from openwit import storage
from openwit.errors import InputError
from openwit.kernels.buffers import string_array
from openwit.kernels.compiled import UNSURE
from openwit.storage.tables import one_chunk
from openwit.urls import resolve

IMAGE_PATH = "IMG@/src"
_SHORTEST_LINK = len('{"path":"IMG@/src"}')


class Link(msgspec.Struct, omit_defaults=True):
    """A link of a page. The extractor writes these of an image's attributes, and no width or height."""

    path: str = ""
    url: str = ""
    alt: str = ""
    title: str = ""


class _Head(msgspec.Struct, rename={"base": "Base"}):
    base: str | None = None


class _Html(msgspec.Struct, rename={"head": "Head"}):
    head: _Head = msgspec.field(default_factory=_Head)


class _HtmlWithLinks(_Html, rename={"links": "Links"}):
    links: list[Link] = []


H = TypeVar("H", bound=_Html)


class _Response(msgspec.Struct, Generic[H], rename={"html": "HTML-Metadata"}):
    html: H | None = None


class _Payload(msgspec.Struct, Generic[H], rename={"response": "HTTP-Response-Metadata"}):
    response: _Response[H] = msgspec.field(default_factory=_Response)


class _Envelope(msgspec.Struct, Generic[H], rename={"payload": "Payload-Metadata"}):
    payload: _Payload[H] = msgspec.field(default_factory=_Payload)


class _Record(msgspec.Struct, Generic[H], rename={"envelope": "Envelope"}):
    envelope: _Envelope[H]


_DECODER = msgspec.json.Decoder(_Record[_HtmlWithLinks])
_BASE_DECODER = msgspec.json.Decoder(_Record[_Html])


def parse(body: bytes | memoryview) -> tuple[list[Link], str]:
    """The image links of a record and its base element ("" where it has none), by parsing all of it: the plain twin
    of the kernel. Raises msgspec.DecodeError or UnicodeDecodeError where it is not as Common Crawl writes it."""
    html = _DECODER.decode(body).envelope.payload.response.html
    if html is None:
        return [], ""
    return [link for link in html.links if link.path == IMAGE_PATH], html.head.base or ""


def parse_base(body: bytes | memoryview) -> str:
    """The base element alone; raises as `parse` does."""
    html = _BASE_DECODER.decode(body).envelope.payload.response.html
    return (html.head.base or "") if html else ""


class LinkTable:
    """The image links of records, found by the kernel, in columns of at most `room_bytes` of texts. In those of an
    extractor that left them alone, the page's character references are resolved (`has_entities`)."""

    def __init__(self, room_bytes: int, has_entities: bool = False) -> None:
        self.has_entities = has_entities
        self._urls, self._captions = np.empty(room_bytes, np.uint8), np.empty(room_bytes, np.uint8)
        self._columns = np.zeros((4, room_bytes // _SHORTEST_LINK + 2), np.int64)
        self._pages: list[str] = []
        self._bases: list[str] = []
        self._places: list[int] = []
        self._number = 0

    def has_room(self, body: bytes | memoryview) -> bool:
        """Whether the record may still be added, were it nothing but links."""
        columns, number = self._columns, self._number
        used = max(_SHORTEST_LINK * number, columns[1, number], columns[2, number])
        return bool(used + len(body) <= len(self._urls))

    def add(self, body: bytes | memoryview, page: str, place: int, counts: Counter[str]) -> None:
        """Appends a record's links, a blank alt text replaced by the title. A record that cannot be read is counted
        (`records_damaged`) and left out. `place` is the record's offset in the file."""
        number, holds_base = self._scan(body)
        base = ""
        try:
            if number == UNSURE:
                images, base = parse(body)
                number, _ = self._scan(msgspec.json.encode({"Links": images}))
                assert number >= 0, "what this file has written is read"
            elif holds_base:
                base = parse_base(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            counts["records_damaged"] += 1
            return
        self._number = number
        base = resolve_entities(base) if self.has_entities else base
        self._pages.append(page)
        self._bases.append(_join(page, base) if base else page)
        self._places.append(place)

    def _scan(self, body: bytes | memoryview) -> tuple[int, bool]:
        data, record = np.frombuffer(body, np.uint8), len(self._pages)
        number, holds_base = scan_links(data, record, self._urls, self._captions, self._columns, self._number)
        return number, holds_base

    def take(self, counts: Counter[str]) -> pa.Table:
        """The links in the order in which they came (columns PAIRS). Records with a text that is not UTF-8 are counted
        (`records_damaged`) and left out."""
        number, records = self._number, self._columns[0, : self._number].astype(np.int32)
        from_title = self._columns[3, :number].astype(np.int32)
        columns = {
            "url": string_array(self._urls, self._columns[1, : number + 1]),
            "caption": string_array(self._captions, self._columns[2, : number + 1]),
            "caption_from": pa.DictionaryArray.from_arrays(from_title, pa.array(["alt", "title"])),
            "base_url": pa.DictionaryArray.from_arrays(records, pa.array(self._bases, pa.string())),
            "page_url": pa.DictionaryArray.from_arrays(records, pa.array(self._pages, pa.string())),
            "place": np.array(self._places, np.int64)[records],
        }
        table = pa.table(columns, schema=PAIRS)
        wrong = [row for row in range(number) if not _is_utf8(table, row)] if not _is_utf8(table) else []
        if wrong:
            damaged = np.unique(records[wrong])
            counts["records_damaged"] += len(damaged)
            table = table.filter(pa.array(~np.isin(records, damaged)))
        return _without_entities(table) if self.has_entities else table


def _without_entities(table: pa.Table) -> pa.Table:
    for name in ("url", "caption"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, resolve_all_entities(one_chunk(table[name])))
    return table


def _is_utf8(table: pa.Table, row: int | None = None) -> bool:
    """Whether the texts are, of one row or all."""
    try:
        for column in table.select(["url", "caption"]).slice(row or 0, None if row is None else 1).columns:
            column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _join(page: str, base: str) -> str:
    """The base element's address, which may be relative to the page. A script or data is none to browsers."""
    joined = resolve(page, base)
    return joined if joined and not joined.lower().startswith(("javascript:", "data:")) else page


BATCH_BYTES = 4 << 20  # of URLs, or of captions, a table
# Common Crawl's extractor resolves the character references of pages since the crawl of June 2019:
# https://github.com/commoncrawl/ia-web-commons/issues/14. The date of a record is that of its extraction.
ENTITIES_RESOLVED = b"2019-06-15"
_METADATA = re.compile(rb"\nWARC-Type:[ \t]*metadata", re.IGNORECASE)
_ADDRESS = re.compile(rb"\nWARC-Target-URI:[ \t]*<?([^\r\n>]*)", re.IGNORECASE)
_DATE = re.compile(rb"\nWARC-Date:[ \t]*(\d{4}-\d\d-\d\d)", re.IGNORECASE)
_PAGES = re.compile(rb"\nWARC-Type:[ \t]*(request|response|resource|revisit|conversion)", re.IGNORECASE)


def read_wat(url: str, counts: Counter[str]) -> Iterator[pa.Table]:
    """The image links of a WAT file in its order, in tables of the columns PAIRS; `place` is the record's offset.

    Damaged records are counted (`records_damaged`), the rest of the file is kept; of a file that breaks off, all
    before the end is kept (`files_truncated`). Raises InputError where the file is missing, holds no WARC records, or
    those of a WARC or WET file.
    """
    table = LinkTable(BATCH_BYTES)
    with storage.open_input(url) as stream:
        for record in read_records(url, stream, IMAGE_PATH.encode(), counts, lambda header: _check_is_wat(url, header)):
            if not _METADATA.search(record.header):
                continue
            date = _DATE.search(record.header)
            has_entities = date is not None and date[1] < ENTITIES_RESOLVED
            if table.has_entities != has_entities or not table.has_room(record.body):
                yield table.take(counts)
                table = LinkTable(max(BATCH_BYTES, len(record.body)), has_entities)
            address = _ADDRESS.search(record.header)
            page = address[1].decode("utf-8", "replace") if address else ""
            table.add(record.body, page, record.offset, counts)
    if len(last := table.take(counts)):
        yield last
    if not counts["records"]:
        raise InputError(f"{url}: no WAT record in it; expected WARC metadata records as Common Crawl writes them")


def _check_is_wat(url: str, header: bytes) -> None:
    """Raises InputError for a record that no WAT file holds."""
    if found := _PAGES.search(header.replace(b"\r", b"").partition(b"\n\n")[0]):
        kind = found[1].decode().lower()
        what = "WET file, which has texts" if kind == "conversion" else "WARC file, which has pages"
        raise InputError(
            f"{url}: holds a {kind} record: it is a {what} and no list of links; expected a WAT file "
            "(….warc.wat.gz), of which the crawl's wat.paths.gz has the list"
        )
