from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources.links import Link, LinkTable, parse

# Texts that JSON escapes, that look like the layout, or are blank; no lone surrogates, which no parser reads.
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
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
    [("/m/", "http://s.test/m/"), ("http://o.test", "http://o.test"), ("", "http://s.test/p/1"), ("http://[", "http://s.test/p/1")],
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
