"""Pairs from Common Crawl's WAT files: the image links that a crawl saw in its pages, with their alt texts."""

from __future__ import annotations

import gzip
import html
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin

import msgspec
from fastwarc.stream_io import StreamError
from fastwarc.warc import ArchiveIterator, WarcRecordType

from openwit import storage
from openwit.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"


class Candidate(NamedTuple):
    """An image link of a page as it stands there, or the reason why it cannot be used."""

    url: str
    caption: str
    page_url: str
    source: str  # WARC file and record offset
    reason: str = ""


class _Link(msgspec.Struct):
    path: str = ""
    url: str = ""
    alt: str = ""


class _Head(msgspec.Struct, rename={"base": "Base"}):
    base: str | None = None


class _Html(msgspec.Struct, rename={"head": "Head", "links": "Links"}):
    head: _Head = msgspec.field(default_factory=_Head)
    links: list[_Link] = []


class _Response(msgspec.Struct, rename={"html": "HTML-Metadata"}):
    html: _Html = msgspec.field(default_factory=_Html)


class _Payload(msgspec.Struct, rename={"response": "HTTP-Response-Metadata"}):
    response: _Response | None = None


class _WarcHeader(msgspec.Struct, rename={"target": "WARC-Target-URI"}):
    target: str = ""


class _Envelope(msgspec.Struct, rename={"header": "WARC-Header-Metadata", "payload": "Payload-Metadata"}):
    header: _WarcHeader = msgspec.field(default_factory=_WarcHeader)
    payload: _Payload = msgspec.field(default_factory=_Payload)


class _Record(msgspec.Struct, rename={"envelope": "Envelope"}):
    envelope: _Envelope


_DECODER = msgspec.json.Decoder(_Record)


def list_files(paths: str, prefix: str, max_files: int | None) -> list[str]:
    """The URLs of the WAT files that a crawl's path list names, `prefix` before each.

    Raises InputError where the list is missing, empty or not a list of WAT files.
    """
    data = storage.read_bytes(paths)
    if data.startswith(GZIP_MAGIC):
        data = gzip.decompress(data)
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or not lines[0].endswith((".wat.gz", ".wat")):
        found = repr(lines[0][:80]) if lines else "nothing"
        raise InputError(f"{paths}: expected lines that end in .warc.wat.gz, found {found}")
    return [line if "://" in line else storage.join(prefix, line) for line in lines[:max_files]]


def read_candidates(url: str, counts: Counter[str]) -> Iterator[Candidate]:
    """Every image link of a WAT file, in its order. Damaged records are counted (`records_damaged`), the rest of
    the file is kept; of a file that breaks off, all before the damage is kept (`files_truncated`).

    Raises InputError where the file is missing or holds no WARC records at all.
    """
    name = url.rsplit("/", 1)[-1]
    with storage.open_input(url) as stream:
        records = iter(ArchiveIterator(stream, record_types=WarcRecordType.metadata, parse_http=False))
        while True:
            try:
                record = next(records)
                body = record.reader.read()
            except StopIteration:
                break
            except (StreamError, EOFError, OSError):
                counts["files_truncated"] += 1
                break
            counts["records"] += 1
            if record.content_length != len(body):
                counts["files_truncated"] += 1
                break
            yield from _record_candidates(body, f"{name}#{record.stream_pos}", counts)
    if not counts["records"]:
        raise InputError(f"{url}: no WAT record in it; expected WARC metadata records as Common Crawl writes them")


def _record_candidates(body: bytes, source: str, counts: Counter[str]) -> Iterator[Candidate]:
    if b"IMG@/src" not in body:
        return
    try:
        envelope = _DECODER.decode(body).envelope
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
        counts["records_damaged"] += 1
        return
    response = envelope.payload.response
    if response is None:
        return
    page = envelope.header.target
    for link in response.html.links:
        if link.path == "IMG@/src":
            yield _candidate(link, page, response.html.head.base, source)


def _candidate(link: _Link, page: str, base: str | None, source: str) -> Candidate:
    caption = " ".join(html.unescape(link.alt).split())
    raw = link.url.strip()
    if raw[:5].lower() == "data:":
        return Candidate("", caption, page, source, "data_uri")
    try:
        url = urldefrag(urljoin(urljoin(page, base) if base else page, raw)).url
    except ValueError:
        return Candidate(raw, caption, page, source, "bad_url")
    reason = "" if url.startswith(("http://", "https://")) else "not_http"
    return Candidate(url, caption, page, source, reason)
