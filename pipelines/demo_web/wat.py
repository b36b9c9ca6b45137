"""WAT files of the embedded web: what Common Crawl publishes about each page it fetched, in its record layout.

A WAT file is a row of gzip members, one a WARC record: a warcinfo record, then `metadata` records whose body is JSON,
one for every request and response of the crawl's WARC file. Dates and record ids are fixed, so are the bytes.

Of a page's HTML, keys, order and cut-offs are those of Common Crawl's extractor (ia-web-commons,
ExtractingParseObserver): an image's link is recorded where its tag opens, an anchor's where it closes, with at most 128
characters of its text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

CRAWL = "OPENWIT-DEMO"
_SEGMENT = "1715971057216.39"
_START = datetime(2024, 5, 18, 1, 0, tzinfo=UTC)
_END_OF_RECORD = b"\r\n\r\n"


@dataclass(frozen=True)
class Capture:
    """A fetched address as the crawl saw it."""

    url: str
    status: str  # e.g. "200 OK"
    content_type: str
    body: bytes
    charset: str = ""  # of an HTML page; empty for what is no HTML


def wat_path(index: int) -> str:
    """The path of a WAT file in the crawl, relative to the folder that holds crawl-data/."""
    return f"crawl-data/{CRAWL}/segments/{_SEGMENT}/wat/{_warc_name(index)}.wat.gz"


def _warc_name(index: int) -> str:
    return f"{CRAWL}-20240518010000-20240518020000-{index:05d}.warc"


def write_crawl(folder: Path, captures: list[Capture], num_files: int) -> None:
    """Writes `num_files` WAT files below folder/crawl-data/, the captures dealt in turn, and wat.paths.gz."""
    for index in range(num_files):
        path = folder / wat_path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wat_bytes(index, captures[index::num_files]))
    listing = "".join(f"{wat_path(index)}\n" for index in range(num_files)).encode()
    (folder / "crawl-data" / CRAWL / "wat.paths.gz").write_bytes(_member(listing))


def wat_bytes(index: int, captures: list[Capture]) -> bytes:
    """One WAT file: the warcinfo record, then a record for each request and each response, as gzip members."""
    name = _warc_name(index)
    members = [_warcinfo_record(name)]
    offset = 0
    for number, capture in enumerate(captures):
        for kind in ("request", "response"):
            http = _http_message(kind, capture)
            record_id = _record_id(f"{name}/{kind}/{capture.url}")
            header = {
                "WARC-Type": kind,
                "WARC-Date": _date(number),
                "WARC-Record-ID": record_id,
                "Content-Length": str(len(http)),
                "Content-Type": f"application/http; msgtype={kind}",
                "WARC-Warcinfo-ID": _record_id(f"{name}/warcinfo"),
                "WARC-IP-Address": "127.0.0.1",
                "WARC-Target-URI": capture.url,
            }
            original = _warc_record(header, http)
            body = json.dumps(
                {
                    "Container": _container(f"{name}.gz", offset, original),
                    "Envelope": _envelope(kind, capture, header, http),
                },
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
            members.append(_metadata_record(capture.url, number, record_id, body))
            offset += len(_member(original))
    return b"".join(members)


def _envelope(kind: str, capture: Capture, header: dict[str, str], http: bytes) -> dict[str, object]:
    head, _, entity = http.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    message = {
        "Headers-Length": str(len(head) + 4),
        "Headers": dict(field.split(": ", 1) for field in fields),
        "Entity-Length": str(len(entity)),
        "Entity-Digest": _digest(entity),
        "Entity-Trailing-Slop-Length": "0",
    }
    payload: dict[str, object] = {"Actual-Content-Type": f"application/http; msgtype={kind}"}
    if kind == "request":
        method, path, version = first.split(" ")
        start = {"Method": method, "Path": path, "Version": version}
        payload["HTTP-Request-Metadata"] = {"Request-Message": start, **message}
    else:
        version, status, reason = first.split(" ", 2)
        found = {"Response-Message": {"Version": version, "Status": status, "Reason": reason}, **message}
        if capture.charset:
            found["HTML-Metadata"] = html_metadata(capture.body.decode(capture.charset))
        payload["HTTP-Response-Metadata"] = found
    payload |= {"Actual-Content-Length": str(len(http)), "Trailing-Slop-Length": "4", "Block-Digest": _digest(http)}
    length = len(_warc_record(header, b"")) - len(_END_OF_RECORD)
    return {
        "Payload-Metadata": payload,
        "Format": "WARC/1.0",
        "WARC-Header-Length": str(length),
        "WARC-Header-Metadata": header,
    }


def _http_message(kind: str, capture: Capture) -> bytes:
    parts = urlsplit(capture.url)
    if kind == "request":
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        fields = {"User-Agent": "openwit-demo", "Accept": "text/html,*/*;q=0.8", "Host": parts.netloc}
        return _lines(f"GET {path} HTTP/1.1", {**fields, "Connection": "Keep-Alive"})
    fields = {"Content-Type": capture.content_type, "Content-Length": str(len(capture.body))}
    return _lines(f"HTTP/1.1 {capture.status}", fields) + capture.body


def _container(filename: str, offset: int, record: bytes) -> dict[str, object]:
    """Where the record stands in its WARC file; every number is text, as the extractor writes it."""
    member = {
        "Deflate-Length": str(len(_member(record))),
        "Header-Length": "10",
        "Footer-Length": "8",
        "Inflated-CRC": str(zlib.crc32(record)),
        "Inflated-Length": str(len(record)),
    }
    return {"Filename": filename, "Compressed": True, "Offset": str(offset), "Gzip-Metadata": member}


def _warcinfo_record(name: str) -> bytes:
    information = (
        "Software-Info: openwit demo web\r\n"
        f"Extracted-Date: {_START:%a, %d %b %Y %H:%M:%S} GMT\r\n"
        "format: WARC File Format 1.0\r\n"
        "conformsTo: http://bibnum.bnf.fr/WARC/WARC_ISO_28500_version1_latestdraft.pdf\r\n"
        "\r\n"
    ).encode()
    header = {
        "WARC-Type": "warcinfo",
        "WARC-Date": _date(0),
        "WARC-Filename": f"{name}.wat.gz",
        "WARC-Record-ID": _record_id(f"{name}/wat"),
        "Content-Type": "application/warc-fields",
        "Content-Length": str(len(information)),
        "WARC-Block-Digest": _digest(information),
    }
    return _member(_warc_record(header, information))


def _metadata_record(url: str, number: int, refers_to: str, body: bytes) -> bytes:
    header = {
        "WARC-Type": "metadata",
        "WARC-Target-URI": url,
        "WARC-Date": _date(number),
        "WARC-Record-ID": _record_id(f"{refers_to}/wat"),
        "WARC-Refers-To": refers_to,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "WARC-Payload-Digest": _digest(body),
        "WARC-Block-Digest": _digest(body),
    }
    return _member(_warc_record(header, body))


def _warc_record(header: dict[str, str], block: bytes) -> bytes:
    return _lines("WARC/1.0", header) + block + _END_OF_RECORD


def _lines(first: str, fields: dict[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


def _member(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _date(number: int) -> str:
    return f"{_START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}"


def _record_id(name: str) -> str:
    return f"<urn:uuid:{uuid5(NAMESPACE_URL, name)}>"


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


_MAX_TEXT = 128
Link = dict[str, str]


def html_metadata(document: str) -> dict[str, object]:
    """{"Head": {"Base", "Title", "Link", "Metas"}, "Links": [...]} of a page; empty parts are left out."""
    parser = _Extractor()
    parser.feed(document)
    parser.close()
    head: dict[str, object] = {}
    if parser.base:
        head["Base"] = parser.base
    if parser.title:
        head["Title"] = parser.title.strip()
    if parser.head_links:
        head["Link"] = parser.head_links
    if parser.metas:
        head["Metas"] = parser.metas
    found: dict[str, object] = {"Head": head} if head else {}
    return {**found, "Links": parser.links} if parser.links else found


class _Extractor(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base = self.title = ""
        self.head_links: list[Link] = []
        self.metas: list[Link] = []
        self.links: list[Link] = []
        self._anchors: list[tuple[Link, list[str]]] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}
        if tag == "title":
            self._in_title = True
        elif tag == "html" and "lang" in values:
            self.metas.append({"name": "HTML@/lang", "content": values["lang"]})
        elif tag == "base" and "href" in values:
            self.base = values["href"]
        elif tag == "meta":
            kept = ("name", "rel", "content", "http-equiv", "property")
            if meta := {name: values[name] for name in kept if name in values}:
                self.metas.append(meta)
        elif tag == "link" and "href" in values:
            self.head_links.append(_link("LINK@/href", values, "href", ("rel", "type")))
        elif tag == "img" and "src" in values:
            self.links.append(_link("IMG@/src", values, "src", ("alt", "title")))
        elif tag == "a":
            optional = ("target", "alt", "title", "rel", "hreflang", "type")
            self._anchors.append((_link("A@/href", values, "href", optional) if "href" in values else {}, []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == "a" and self._anchors:
            link, texts = self._anchors.pop()
            text = " ".join("".join(texts).split())[:_MAX_TEXT]
            if link:
                self.links.append({**link, "text": text} if text else link)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        for _, texts in self._anchors:
            texts.append(data)


def _link(path: str, values: Link, address: str, optional: tuple[str, ...]) -> Link:
    return {"path": path, "url": values[address]} | {name: values[name] for name in optional if name in values}
