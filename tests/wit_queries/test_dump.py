from __future__ import annotations

import bz2
import importlib.util
import tracemalloc
from pathlib import Path

import pytest

from helpers.dumps import FOOTER, HEADER, page, write_dump
from openwit.errors import InputError
from wit_queries.dump import BrokenPage, Dump, Page, read_titles
from wit_queries.inputs import dump_urls

PAGES = [
    page("Anarchism", "'''Anarchism''' is a [[political philosophy]] & more <ref>x</ref>"),
    page("AnarchY", "#REDIRECT [[Anarchism]]", redirect="Anarchism"),
    page("Talk:Anarchism", "a discussion", namespace=1),
]
WHOLE = [
    Page("Anarchism", 0, None, "'''Anarchism''' is a [[political philosophy]] & more <ref>x</ref>"),
    Page("AnarchY", 0, "Anarchism", "#REDIRECT [[Anarchism]]"),
    Page("Talk:Anarchism", 1, None, "a discussion"),
]


@pytest.mark.parametrize("suffix", [".xml", ".xml.bz2", ".xml.gz"])
def test_all_pages_come_in_order_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    dump = Dump(str(write_dump(tmp_path / f"dump{suffix}", PAGES)))
    assert list(dump.pages()) == WHOLE
    assert dump.site.language == "en"
    assert dump.site.namespaces["Portal"] == 100


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim, whose wheel ships the dump, is missing")
def test_the_real_excerpt_has_its_106_articles_and_100_redirects() -> None:
    (url,) = dump_urls(["gensim"])
    pages = list(Dump(url).pages())
    whole = [page for page in pages if isinstance(page, Page)]
    assert len(pages) == len(whole) == 206
    assert sum(page.redirect is not None for page in whole) == 100
    assert sum(page.namespace == 0 and page.redirect is None for page in whole) == 106
    assert read_titles(url)[:2] == ["AccessibleComputing", "Anarchism"]
    assert next(page for page in whole if page.title == "AccessibleComputing").redirect == "Computer accessibility"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (PAGES[0].replace("</title>", ""), "no well-formed XML"),
        (PAGES[0].replace("&amp;", "&"), "no well-formed XML"),
        (PAGES[0].replace("&amp;", "&nbsp;"), "no well-formed XML"),
        (PAGES[0].replace("Anarchism</title>", "</title>"), "has no title"),
        (PAGES[0].replace("<ns>0", "<ns>zero"), "is no number"),
        ("<page><title>T</title><ns>0</ns></page>", "has no revision"),
        (PAGES[0].replace("</page>", ""), "does not end before the next page begins"),
    ],
)
def test_a_broken_page_is_told_with_its_offset_and_the_others_are_kept(
    tmp_path: Path, broken: str, reason: str
) -> None:
    path = write_dump(tmp_path / "dump.xml", [PAGES[0], broken, *PAGES[1:]])
    first, bad, *others = Dump(str(path)).pages()
    assert first == WHOLE[0]
    assert others == WHOLE[1:]
    assert isinstance(bad, BrokenPage)
    assert reason in bad.reason
    assert path.read_bytes()[bad.offset :].startswith(b"<page>")
    assert bad.offset == (HEADER + PAGES[0] + broken).encode().rindex(b"<page>")


def test_a_last_page_that_never_closes_is_broken_where_the_dump_ends_well(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml", [PAGES[0], PAGES[2].replace("</page>", "")])
    first, bad = Dump(str(path)).pages()
    assert first == WHOLE[0]
    assert isinstance(bad, BrokenPage)


def test_a_page_over_the_limit_is_broken_and_the_next_is_read(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml", [page("Long", "x" * 9_000_000), *PAGES])
    bad, *others = Dump(str(path), max_page_bytes=2_000_000).pages()
    assert isinstance(bad, BrokenPage)
    assert "longer than 2000000 bytes" in bad.reason
    assert others == WHOLE


def test_an_xml_file_that_was_cut_off_is_named_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(HEADER + PAGES[0] + PAGES[1][:200])
    dump = Dump(str(path))
    pages = dump.pages()
    assert next(pages) == WHOLE[0]
    with pytest.raises(
        InputError, match=rf"dump.xml: cut off at byte {path.stat().st_size} .*after 1 pages.*</mediawiki>"
    ):
        next(pages)


def test_a_bz2_file_that_was_cut_off_is_named_with_the_place(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml.bz2", PAGES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=rf"dump.xml.bz2: ends at byte {path.stat().st_size} in the middle"):
        list(Dump(str(path)).pages())


def test_a_bz2_file_that_lacks_its_last_streams_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress((HEADER + PAGES[0]).encode()))
    with pytest.raises(InputError, match="cut off at byte"):
        list(Dump(str(path)).pages())


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", b"INSERT INTO page VALUES (1);", b"\xff\xfe"])
def test_what_is_no_dump_is_named_with_what_was_found(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dump.xml: begins with .*expected a MediaWiki XML export"):
        list(Dump(str(path)).pages())


def test_a_dump_of_an_old_version_has_its_namespaces_from_the_titles(tmp_path: Path) -> None:
    old = [text.replace("<ns>0</ns>", "").replace("<ns>1</ns>", "") for text in PAGES]
    assert list(Dump(str(write_dump(tmp_path / "dump.xml", old))).pages()) == WHOLE


def test_an_old_redirect_without_a_title_is_read_from_the_text(tmp_path: Path) -> None:
    old = PAGES[1].replace('<redirect title="Anarchism" />', "<redirect />")
    (only,) = Dump(str(write_dump(tmp_path / "dump.xml", [old]))).pages()
    assert only == WHOLE[1]


def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    body = page("Article", "word " * 40_000).encode()
    path.write_bytes(bz2.compress(HEADER.encode()) + bz2.compress(body) * 200 + bz2.compress(FOOTER.encode()))
    tracemalloc.start()
    num_pages = sum(1 for _ in Dump(str(path)).pages())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_pages == 200
    assert peak < 12_000_000 < len(body) * 200
