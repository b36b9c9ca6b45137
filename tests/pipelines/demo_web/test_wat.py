from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from base64 import b32encode
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from helpers.places import SHARED
from pipelines.demo_web.wat import Capture, wat_bytes

PAGE = '<html><head><title>T</title></head><body><img src="/é.png" alt="naïve"></body></html>'
CAPTURES = [
    Capture("http://a.test/p.html", "200 OK", "text/html; charset=iso-8859-1", PAGE.encode("latin-1"), "iso-8859-1"),
    Capture("http://a.test/gone", "404 Not Found", "text/html", b"<p>gone</p>", "utf-8"),
    Capture("http://a.test/robots.txt", "200 OK", "text/plain", b"User-agent: *\n"),
]


def records(data: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Headers and body of every record, by fastwarc."""
    iterator = ArchiveIterator(io.BytesIO(data), parse_http=False)
    return [(dict(record.headers), record.reader.read()) for record in iterator]


def members(data: bytes) -> list[bytes]:
    """Every gzip member, inflated."""
    found = []
    while data:
        inflater = zlib.decompressobj(31)
        found.append(inflater.decompress(data))
        data = inflater.unused_data
    return found


def test_each_record_is_a_gzip_member_of_its_own_and_warcinfo_comes_first() -> None:
    data = wat_bytes(0, CAPTURES)
    found = records(data)
    assert len(members(data)) == len(found) == 1 + 2 * len(CAPTURES)
    assert [headers["WARC-Type"] for headers, _ in found] == ["warcinfo"] + ["metadata"] * 6
    assert all(int(headers["Content-Length"]) == len(body) for headers, body in found)


def test_headers_and_envelope_have_the_layout_of_common_crawl() -> None:
    headers, body = records(wat_bytes(0, CAPTURES))[2]
    assert list(headers) == [
        "WARC-Type",
        "WARC-Target-URI",
        "WARC-Date",
        "WARC-Record-ID",
        "WARC-Refers-To",
        "Content-Type",
        "Content-Length",
        "WARC-Payload-Digest",
        "WARC-Block-Digest",
    ]
    assert headers["WARC-Block-Digest"] == "sha1:" + b32encode(hashlib.sha1(body).digest()).decode()
    record = json.loads(body)
    envelope = record["Envelope"]
    response = envelope["Payload-Metadata"]["HTTP-Response-Metadata"]
    assert set(record) == {"Container", "Envelope"}
    assert envelope["WARC-Header-Metadata"]["WARC-Record-ID"] == headers["WARC-Refers-To"]
    assert response["Response-Message"] == {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"}
    assert response["HTML-Metadata"] == {
        "Head": {"Title": "T"},
        "Links": [{"path": "IMG@/src", "url": "/é.png", "alt": "naïve"}],
    }


def test_pages_that_are_gone_and_what_is_no_html_are_recorded_too() -> None:
    payloads = [json.loads(body)["Envelope"]["Payload-Metadata"] for _, body in records(wat_bytes(0, CAPTURES))[1:]]
    responses = [payload["HTTP-Response-Metadata"] for payload in payloads if "HTTP-Response-Metadata" in payload]
    assert [response["Response-Message"]["Status"] for response in responses] == ["200", "404", "200"]
    assert "HTML-Metadata" not in responses[2]
    assert payloads[0]["HTTP-Request-Metadata"]["Request-Message"]["Path"] == "/p.html"


def test_equal_captures_give_equal_bytes_and_no_member_carries_a_time() -> None:
    assert wat_bytes(3, CAPTURES) == wat_bytes(3, CAPTURES)
    assert wat_bytes(3, CAPTURES)[4:8] == bytes(4)


def test_the_layout_is_that_of_a_real_wat_file() -> None:
    real = SHARED / "warc/whirlwind.warc.wat.gz"
    if not real.exists():
        pytest.skip("shared/data/warc is not there; the layout is also checked against names written down here")
    (_, _), (real_headers, real_body) = records(real.read_bytes())
    (_, _), (headers, body), *_ = records(wat_bytes(0, CAPTURES))
    assert list(headers) == list(real_headers)

    def shape(value: object) -> object:
        names = ("Headers", "WARC-Header-Metadata")
        if isinstance(value, dict):
            return {key: "…" if key in names else shape(inner) for key, inner in value.items()}
        return type(value).__name__

    assert shape(json.loads(body)) == shape(json.loads(real_body))


def test_the_built_crawl_lists_its_files_by_paths_below_the_webs_folder(web: Path) -> None:
    lines = gzip.decompress((web / "crawl-data/OPENWIT-DEMO/wat.paths.gz").read_bytes()).decode().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("crawl-data/OPENWIT-DEMO/segments/")
        assert records((web / line).read_bytes())
