from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources import wat
from datagen.sources.wat import Link, LinkTable, parse
from helpers import wat as made
from helpers.places import SHARED
from helpers.wat import image, page, wat_file
from openwit.errors import InputError

ONE = page("http://s.test/1", [image("a.jpg", "one")])
TWO = page("http://s.test/2", [image("b.jpg", "two")])
THREE = page("http://s.test/3", [image("c.jpg", "three")])


def read(path: Path, data: bytes) -> tuple[list[dict[str, Any]], Counter[str]]:
    path.write_bytes(data)
    counts: Counter[str] = Counter()
    return [row for table in wat.read_wat(str(path), counts) for row in table.to_pylist()], counts


def captions(path: Path, data: bytes) -> tuple[list[str], Counter[str]]:
    rows, counts = read(path, data)
    return [row["caption"] for row in rows], counts


def test_a_link_comes_with_its_text_page_base_and_place(tmp_path: Path) -> None:
    file = tmp_path / "x.wat.gz"
    data = wat_file(page("http://s.test/1", None), page("http://s.test/p/2", [image("a.jpg", "A cat")], base="/m/"))
    rows, counts = read(file, data)
    assert [{key: value for key, value in row.items() if key != "place"} for row in rows] == [
        {
            "url": "a.jpg",
            "caption": "A cat",
            "caption_from": "alt",
            "base_url": "http://s.test/m/",
            "page_url": "http://s.test/p/2",
        }
    ]
    assert gzip.decompress(data[rows[0]["place"] :]).startswith(b"WARC/1.0\r\nWARC-Type: metadata\r\n")
    assert counts == {"records": 7}


def test_the_title_stands_in_for_an_alt_text_that_is_missing_or_blank(tmp_path: Path) -> None:
    links = [image("1", None, "t1"), image("2", " \n", "t2"), image("3", "a3", "t3"), image("4"), image("5", "", " ")]
    rows, _ = read(tmp_path / "x.wat.gz", wat_file(page("http://s.test/", links)))
    assert [(row["caption"].strip(), row["caption_from"]) for row in rows] == [
        ("t1", "title"), ("t2", "title"), ("a3", "alt"), ("", "alt"), ("", "alt"),
    ]  # fmt: skip


def test_links_that_are_no_images_and_pages_without_html_give_nothing(tmp_path: Path) -> None:
    others = [{"path": "A@/href", "url": "a.html", "text": "IMG@/src"}, {"path": "IMG@/longdesc", "url": "d"}]
    data = wat_file(page("http://s.test/", others), page("http://s.test/404", None, status="404"))
    assert read(tmp_path / "x.wat.gz", data) == ([], {"records": 7})


def test_records_with_missing_keys_give_nothing_and_are_not_damaged(tmp_path: Path) -> None:
    bodies: list[object] = [
        {"Envelope": {"Payload-Metadata": {}, "note": "IMG@/src"}},
        {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"note": "IMG@/src"}}}},
        {"note": ["IMG@/src"]},
    ]
    data = b"".join(made.json_member("http://s.test/", json.dumps(body).encode()) for body in bodies)
    assert read(tmp_path / "x.wat.gz", data) == ([], {"records": 3})


def test_a_response_without_a_target_has_an_empty_page(tmp_path: Path) -> None:
    body = json.dumps({"Links": [image("a.jpg", "x")]}).encode()
    rows, _ = read(tmp_path / "x.wat.gz", made.member(b"WARC-Type: metadata\r\n", body))
    assert (rows[0]["page_url"], rows[0]["base_url"]) == ("", "")


def test_records_of_other_types_are_no_source_of_links(tmp_path: Path) -> None:
    body = json.dumps({"Links": [image("a.jpg", "x")]}).encode()
    data = wat_file(ONE, TWO, THREE, [made.member(b"WARC-Type: conversion\r\n", body)])
    assert captions(tmp_path / "x.wat.gz", data)[0] == ["one", "two", "three"]


def test_a_record_that_is_no_json_is_counted_and_the_rest_of_the_file_kept(tmp_path: Path) -> None:
    broken = made.json_member("http://s.test/2", b'{"Envelope": IMG@/src')
    found, counts = captions(tmp_path / "x.wat.gz", wat_file(ONE, [broken], TWO))
    assert (found, counts["records_damaged"], counts["files_truncated"]) == (["one", "two"], 1, 0)


def test_a_record_that_is_not_utf8_is_counted_and_the_rest_of_the_file_kept(tmp_path: Path) -> None:
    links = made.record("http://s.test/2", {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": [image("b", "ß")]}}})
    broken = made.json_member("http://s.test/2", links.replace("ß".encode(), b"\xdf"))
    found, counts = captions(tmp_path / "x.wat.gz", wat_file(ONE, [broken], TWO))
    assert (found, counts["records_damaged"]) == (["one", "two"], 1)


@pytest.mark.parametrize("place", [3, 12, 100, -6])
def test_a_damaged_member_in_the_middle_is_counted_and_the_rest_of_the_file_kept(tmp_path: Path, place: int) -> None:
    response = bytearray(TWO[1])
    response[place] ^= 0x55
    data = wat_file(ONE, [TWO[0], bytes(response), TWO[2]], THREE)
    found, counts = captions(tmp_path / "x.wat.gz", data)
    assert (found, counts["records_damaged"], counts["files_truncated"]) == (["one", "three"], 1, 0)


@pytest.mark.parametrize("lost", [1, 9, 60])
def test_a_truncated_file_keeps_all_before_the_damage_and_says_so(tmp_path: Path, lost: int) -> None:
    data = wat_file(ONE, TWO)
    whole = len(data) - len(TWO[2])
    found, counts = captions(tmp_path / "x.wat.gz", data[:whole] + THREE[1][:-lost])
    assert found[:2] == ["one", "two"]
    assert (counts["records_damaged"], counts["files_truncated"]) == (0, 1)


def test_a_file_that_is_not_compressed_or_packed_as_one_member_is_read_alike(tmp_path: Path) -> None:
    data = wat_file(ONE, TWO, THREE)
    plain = gzip.decompress(data)
    for content in (plain, gzip.compress(plain, mtime=0)):
        found, counts = captions(tmp_path / "x.wat", content)
        assert (found, counts) == (["one", "two", "three"], {"records": 10})
    found, counts = captions(tmp_path / "x.wat", plain[:-700])
    assert (found, counts["files_truncated"]) == (["one", "two"], 1)


def test_tables_are_cut_by_size_and_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wat_file(*(page("http://s.test/" + "x" * 900, [image("a" * 900, f"{n}")]) for n in range(20)))
    monkeypatch.setattr(wat, "BATCH_BYTES", 6000)
    path = tmp_path / "x.wat.gz"
    path.write_bytes(data)
    tables = list(wat.read_wat(str(path), Counter()))
    assert len(tables) > 3
    assert [text for table in tables for text in table["caption"].to_pylist()] == [f"{n}" for n in range(20)]


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello", mtime=0), gzip.compress(b"", mtime=0)])
def test_a_file_without_records_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"x\.wat\.gz: no WAT record"):
        read(tmp_path / "x.wat.gz", content)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real WAT and WARC files are not on this machine")
def test_real_archives_are_walked_to_their_end_or_refused_where_they_hold_pages() -> None:
    counts: Counter[str] = Counter()
    assert list(wat.read_wat(str(SHARED / "warc" / "whirlwind.warc.wat.gz"), counts)) == []
    assert counts == {"records": 2}
    for name in ("whirlwind.warc.gz", "aut_example.warc.gz"):
        with pytest.raises(InputError, match=rf"{name}: holds a \w+ record: it is a WARC file"):
            list(wat.read_wat(str(SHARED / "warc" / name), Counter()))


@pytest.mark.parametrize(
    ("kind", "what"), [("request", "WARC"), ("response", "WARC"), ("resource", "WARC"), ("Conversion", "WET")]
)
def test_a_file_of_pages_or_texts_given_as_wat_is_refused_as_what_it_is(tmp_path: Path, kind: str, what: str) -> None:
    record = made.member(f"WARC-Type: {kind}\r\nWARC-Target-URI: http://s.test/\r\n".encode(), b"<html>IMG@/src")
    for data in (made.warcinfo() + record, gzip.decompress(made.warcinfo() + record)):
        with pytest.raises(InputError, match=rf"x\.wat: holds a {kind.lower()} record: it is a {what} file"):
            read(tmp_path / "x.wat", data)


def test_records_with_bare_line_feeds_are_read(tmp_path: Path) -> None:
    data = b"".join(gzip.compress(gzip.decompress(member).replace(b"\r\n", b"\n")) for member in (*ONE, *TWO))
    found, counts = captions(tmp_path / "x.wat.gz", data)
    assert (found, counts) == (["one", "two"], {"records": 6})


def test_character_references_are_resolved_where_the_extractor_had_left_them_alone(tmp_path: Path) -> None:
    """Common Crawl's resolves them since June 2019: what then still looks like one is text."""
    links = [image("a.jpg?x=1&amp;y=2&copy=3", "R&amp;D &amp;lt;b&amp;gt; tea&notebook"), image("b", "", "&eacute;")]
    data = wat_file(page("http://s.test/", links, base="/m&amp;n/"), page("http://s.test/2", [image("c", "&lt;")]))
    found = []
    for year in ("2019-05-27", "2019-06-20", "2024-05-31"):
        members = [gzip.decompress(data).replace(b"2024-05-31", year.encode())]
        rows, _ = read(tmp_path / "x.wat.gz", gzip.compress(members[0]))
        found.append([(row["url"], row["caption"], row["base_url"]) for row in rows])
    assert found[0] == [
        ("a.jpg?x=1&y=2&copy=3", "R&D &lt;b&gt; tea&notebook", "http://s.test/m&n/"),
        ("b", "é", "http://s.test/m&n/"),
        ("c", "<", "http://s.test/2"),
    ]
    assert found[1] == found[2]
    assert [(url, caption) for url, caption, _ in found[1]] == [
        (links[0]["url"], links[0]["alt"]),
        ("b", "&eacute;"),
        ("c", "&lt;"),
    ]


def test_a_record_nested_without_measure_is_counted(tmp_path: Path) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    head = b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{"HTML-Metadata":{"Links":'
    bodies = [
        head + b'[{"path":"IMG@/src","url":"a","alt":' + deep + b"}]}}}}}",
        head + b'[{"path":"IMG@/src","url":"a","alt":"x"}],"Head":{"Base":' + deep + b"}}}}}}",
    ]
    for body in bodies:
        data = wat_file(ONE, [made.json_member("http://s.test/d", body)], TWO)
        found, counts = captions(tmp_path / "x.wat.gz", data)
        assert (found, counts["records_damaged"]) == (["one", "two"], 1)


# Texts that JSON escapes, that look like the layout, or are blank; no lone surrogates, which no parser reads.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(  # type: ignore[arg-type]
    ['"', "\\", "IMG@/src", '"path":"IMG@/src"', '{"path":"IMG@/src"}', '"Base"', " ", "\n\t", "\x00", "\U0001f431"]
)  # fmt: skip
NAMES = st.sampled_from(["url", "alt", "title", "text", "rel", "x path", 'a"b', "longdesc"])
PATHS = st.sampled_from(["IMG@/src"] * 3 + ["A@/href", "IMG@/longdesc", "LINK@/href"])


@st.composite
def link(draw: st.DrawFn) -> dict[str, str]:
    items = [*draw(st.dictionaries(NAMES, TEXT, max_size=4)).items(), ("path", draw(PATHS))]
    return dict(draw(st.permutations(items)))


@st.composite
def body(draw: st.DrawFn) -> bytes:
    html: dict[str, Any] = {"Links": draw(st.lists(link(), max_size=5))}
    if draw(st.booleans()):
        html["Head"] = {"Title": draw(TEXT), **draw(st.dictionaries(st.just("Base"), TEXT))}
    response = {"Headers": draw(st.dictionaries(TEXT, TEXT, max_size=3)), "HTML-Metadata": html}
    record = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": response}}}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), ("\n , ", " :\t")]))
    text = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=separators)
    return text.replace("/", draw(st.sampled_from(["/", "/", "\\/"]))).encode()


def expected(bodies: list[bytes]) -> list[tuple[str, str, str, int]]:
    """By the plain parser; white space is ASCII's."""
    rows = []
    for number, content in enumerate(bodies):
        for found in parse(content)[0] if b"IMG@/src" in content else []:
            alt, title = (text.strip(" \t\n\r\v\f") for text in (found.alt, found.title))
            text = found.alt if alt else found.title if title else ""
            rows.append((found.url if text else "", text, "title" if title and not alt else "alt", number))
    return rows


def rows(bodies: list[bytes], counts: Counter[str]) -> list[tuple[str, str, str, int]]:
    links = LinkTable(sum(map(len, bodies)))
    for place, content in enumerate(bodies):
        assert links.has_room(content)
        links.add(content, "http://s.test/", place, counts)
    table = links.take(counts)
    return [(row["url"], row["caption"], row["caption_from"], row["place"]) for row in table.to_pylist()]


@settings(max_examples=150, deadline=None)
@given(st.lists(body(), min_size=1, max_size=4))
def test_the_kernel_finds_what_the_plain_parser_finds(bodies: list[bytes]) -> None:
    counts: Counter[str] = Counter()
    assert rows(bodies, counts) == expected(bodies)
    assert not counts


@settings(max_examples=150, deadline=None)
@given(body(), st.data())
def test_a_damaged_record_spoils_no_other_one_and_nothing_is_read_past_its_end(
    content: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    found = [row for row in rows([content, bytes(damaged), content], Counter()) if row[3] != 1]
    assert [row[:3] for row in found] == [row[:3] for row in expected([content, content])]


@pytest.mark.parametrize(
    ("base", "resolved"),
    [("/m/", "http://s.test/m/"), ("http://o.test", "http://o.test/"), ("", "http://s.test/p/1"),
     ("http://[", "http://s.test/p/1"), ("javascript:void(0)", "http://s.test/p/1"), (" DATA:,x", "http://s.test/p/1"),
     ("\\m\\x", "http://s.test/m/x"), ("https:/o.test/d/e", "https://o.test/d/e"), ("j\nava\tscript:x", "http://s.test/p/1"),
     ("m/?q", "http://s.test/p/m/?q")],
)  # fmt: skip
def test_a_base_element_may_be_relative_empty_or_impossible(base: str, resolved: str) -> None:
    html = {"Head": {"Base": base}, "Links": [{"path": "IMG@/src", "url": "a.jpg"}]}
    record = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": html}}}}
    links = LinkTable(1000)
    links.add(json.dumps(record).encode(), "http://s.test/p/1", 0, Counter())
    assert links.take(Counter())["base_url"].to_pylist() == [resolved]


def test_a_header_that_looks_like_an_image_is_none() -> None:
    headers = {"path": "IMG@/src", "url": "http://evil.test/", "alt": "x"}
    record = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"Headers": headers}}}}
    assert rows([msgspec.json.encode(record)], Counter()) == []


@pytest.mark.parametrize("alt", ["null", "7", '["x"]', '"\\ud800"', '"\\x"', '"a\nb"'])
def test_a_link_that_is_not_of_texts_makes_its_record_damaged(alt: str) -> None:
    text = '{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{"HTML-Metadata":{"Links":[{"path":"IMG@/src","url":"a","alt":%s}]}}}}}'  # noqa: E501
    counts: Counter[str] = Counter()
    assert rows([(text % alt).encode()], counts) == []
    assert counts == {"records_damaged": 1}


def test_the_plain_parser_gives_image_links_and_the_base() -> None:
    html = {"Head": {"Base": "/b"}, "Links": [{"path": "A@/href"}, {"path": "IMG@/src", "url": "a", "title": "t"}]}
    record = {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": html}}}}
    assert parse(json.dumps(record).encode()) == ([Link("IMG@/src", "a", "", "t")], "/b")
