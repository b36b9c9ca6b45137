"""WAT files in Common Crawl's record layout: a gzip member for each record, a warcinfo record first, then for each page
three metadata records: of the request, the response and the fetch."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

Link = dict[str, str]


def image(url: str, alt: str | None = None, title: str | None = None) -> Link:
    """A link of an img element with its keys in the extractor's order."""
    texts = {"alt": alt, "title": title}
    return {"path": "IMG@/src", "url": url, **{key: text for key, text in texts.items() if text is not None}}


def wat_file(*pages: Sequence[bytes]) -> bytes:
    """The file: warcinfo and the pages' records."""
    return b"".join([warcinfo(), *(member for page in pages for member in page)])


def warcinfo() -> bytes:
    """The record that a file begins with."""
    return member(
        b"WARC-Type: warcinfo\r\n", b"Software-Info: ia-web-commons.1.1.10\r\nformat: WARC File Format 1.0\r\n"
    )


def page(url: str, links: Sequence[Link] | None, base: str | None = None, status: str = "200") -> list[bytes]:
    """A page's three records; without links the response had no HTML that could be read."""
    request = {"HTTP-Request-Metadata": {"Request-Message": {"Method": "GET", "Path": "/", "Version": "HTTP/1.1"}}}
    answer: dict[str, Any] = {"Response-Message": {"Status": status, "Version": "HTTP/1.1", "Reason": "OK"}}
    if links is not None:
        head = {"Title": "Base of a page", "Metas": [{"name": "x", "content": "IMG@/src"}]}
        answer["HTML-Metadata"] = {"Head": {**head, **({"Base": base} if base is not None else {})}, "Links": links}
    fetch = {"WARC-Metadata-Metadata": {"Metadata-Records": [{"Name": "fetchTimeMs", "Value": "372"}]}}
    payloads = (request, {"HTTP-Response-Metadata": answer}, fetch)
    return [json_member(url, record(url, payload)) for payload in payloads]


def record(url: str, payload: dict[str, Any]) -> bytes:
    """The JSON of a record, with its line breaks, spaces and letters as the extractor writes them."""
    container = {"Filename": "CC-MAIN-00000.warc.gz", "Compressed": True, "Offset": "80610308"}
    envelope = {
        "Payload-Metadata": {"Actual-Content-Type": "application/http; msgtype=response", **payload},
        "Format": "WARC/1.0",
        "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": url},
    }
    return json.dumps(
        {"Container": container, "Envelope": envelope}, ensure_ascii=False, separators=(",", ":")
    ).encode()


def json_member(url: str, body: bytes) -> bytes:
    """A metadata record with that body."""
    fields = "WARC-Type: metadata\r\nWARC-Target-URI: {}\r\nContent-Type: application/json\r\n"
    return member(fields.format(url).encode(), body)


def member(fields: bytes, body: bytes) -> bytes:
    """A record as a gzip member of its own."""
    return gzip.compress(plain_record(fields, body), mtime=0)


def plain_record(fields: bytes, body: bytes) -> bytes:
    """A record that is not compressed."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"WARC/1.0\r\n" + fields + b"WARC-Date: 2024-05-31T01:17:49Z\r\n" + length + b"\r\n" + body + b"\r\n\r\n"
