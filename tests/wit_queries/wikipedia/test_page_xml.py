from __future__ import annotations

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.dumps import page
from wit_queries.wikipedia.page_xml import BrokenPage, WikiPage, read_any, read_plain

NEW = """<page>
    <title>A &amp; B</title>
    <ns>0</ns>
    <id>12</id>
    <revision>
      <id>3</id>
      <parentid>2</parentid>
      <timestamp>2026-01-01T00:00:00Z</timestamp>
      <contributor>
        <username>A&quot;B</username>
        <id>7</id>
      </contributor>
      <minor />
      <comment>/* See also */ [[x]] -&gt; y</comment>
      <origin>3</origin>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="21" sha1="4ro7vv" xml:space="preserve">5 &lt; 6 &amp;amp; 'é' &quot;&apos;&gt;</text>
      <sha1>4ro7vv</sha1>
    </revision>
  </page>"""
REDIRECT = page("Old", "#REDIRECT [[New]]", redirect="New & better").strip()
TALK = page("Talk:A", "words", namespace=1).strip()

# What trips a reader of XML: references, what ends a text, controls, characters that are none, line ends, bad UTF-8.
ODD = [
    b"&", b"&amp;", b"&amp", b"&nbsp;", b"&#10;", b"&#0;", b"&#x41;", b"&lt;page&gt;", b"<", b">", b"]]>", b"]]&gt;",
    b"<![CDATA[x]]>", b"<!-- c -->", b"<?p i?>", b"<b/>", b"</text>", b"<text>", b"<title>T</title>", b"<ns>4</ns>",
    b"<revision><text>last</text></revision>", b"</revision>", b'<redirect title="R" />', b"<redirect />", b"<minor/>",
    b"\x00", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\r", b"\r\n", b"\t", b"\n", b" ", b"\xc2\xa0", b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"\xef\xbf\xbd", b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80",
    b'"', b"'", b' a="1"', b' bytes="1"', "\u2028".encode(), b"-", b"0", b"99999999999", "٣".encode(),
]  # fmt: skip


def namespace_of(title: str) -> int:
    return 1 if title.startswith("Talk:") else 0


def test_pages_as_mediawiki_writes_them_are_read_plainly() -> None:
    text = "5 < 6 &amp; 'é' \"'>"
    before = b"</page>\n  "
    for xml, expected in (
        (NEW, WikiPage("A & B", 0, None, text)),
        (REDIRECT, WikiPage("Old", 0, "New & better", "")),
        (TALK, WikiPage("Talk:A", 1, None, "")),
    ):
        data = before + xml.encode() + b"\n  <page>"
        assert read_plain(data, len(before)) == (expected, len(before) + len(xml.encode()))
        assert read_any(xml.encode(), 0, namespace_of) == expected


def test_a_page_that_is_not_whole_yet_is_not_read_plainly() -> None:
    data = NEW.encode()
    assert all(read_plain(data[:end], 0) is None for end in range(len(data)))


@given(
    st.sampled_from([NEW, REDIRECT, TALK]),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 3), st.sampled_from(ODD)), min_size=1, max_size=3),
)
def test_a_page_with_oddities_is_read_as_elementtree_reads_it_or_left_to_it(
    xml: str, changes: list[tuple[int, int, bytes]]
) -> None:
    data = xml.encode()
    for place, num_cut, odd in changes:
        at = place % len(data)
        data = data[:at] + odd + data[at + num_cut :]
    plain = read_plain(data, 0)
    if plain is not None:
        assert read_any(data[: plain[1]], 0, namespace_of) == plain[0]


@pytest.mark.parametrize("place", ["title", "comment", "text"])
@pytest.mark.parametrize("odd", ODD)
def test_every_oddity_in_every_text_is_read_as_elementtree_reads_it_or_left_to_it(odd: bytes, place: str) -> None:
    data = NEW.encode().replace(f"</{place}>".encode(), odd + f"</{place}>".encode())
    plain = read_plain(data, 0)
    assert plain is None or plain == (read_any(data, 0, namespace_of), len(data))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.text(max_size=10))
def test_any_text_comes_out_as_it_was_written(text: str, title: str) -> None:
    try:
        data = page(title, text).strip().encode()
    except UnicodeEncodeError:
        return
    plain, other = read_plain(data, 0), read_any(data, 0, namespace_of)
    assert plain is None or plain == (other, len(data))
    if isinstance(other, WikiPage) and "\r" not in text + title:
        assert other == WikiPage(title.strip(), 0, None, text)


def test_a_page_of_several_revisions_has_the_last_one_s_text() -> None:
    first, last = (f"<revision><id>{n}</id><text>{n}</text></revision>" for n in "12")
    data = f"<page><title>T</title><ns>0</ns><id>1</id>{first}{last}</page>".encode()
    assert read_plain(data, 0) is None
    assert read_any(data, 0, namespace_of) == WikiPage("T", 0, None, "2")


def test_a_cdata_section_is_text() -> None:
    data = NEW.replace(escape("5 < 6"), "<![CDATA[5 < 6 &amp;]]>").encode()
    assert read_plain(data, 0) is None
    found = read_any(data, 0, namespace_of)
    assert isinstance(found, WikiPage)
    assert found.text.startswith("5 < 6 &amp;")


def test_a_number_without_end_is_no_namespace() -> None:
    data = NEW.replace("<ns>0", "<ns>" + "9" * 5000).encode()
    assert read_plain(data, 0) is None
    assert isinstance(read_any(data, 0, namespace_of), BrokenPage)


def test_an_end_without_beginning_lends_its_page_to_no_other() -> None:
    data = b"</text></revision></page>\n  " + NEW.encode()[:-40]
    assert read_plain(data, data.index(b"<page>")) is None
