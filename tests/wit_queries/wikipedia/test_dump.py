from __future__ import annotations

import bz2
import importlib.util
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.dumps import FOOTER, HEADER, page, write_dump, write_streams
from openwit.errors import InputError
from wit_queries.wikipedia import compressed
from wit_queries.wikipedia.dump import BrokenPage, Dump, WikiPage, read_titles
from wit_queries.wikipedia.inputs import dump_urls
from wit_queries.wikipedia.spans import cut

PAGES = [
    page("Anarchism", "'''Anarchism''' is a [[political philosophy]] & more <ref>x</ref>"),
    page("AnarchY", "#REDIRECT [[Anarchism]]", redirect="Anarchism"),
    page("Talk:Anarchism", "a discussion", namespace=1),
]
WHOLE = [
    WikiPage("Anarchism", 0, None, "'''Anarchism''' is a [[political philosophy]] & more <ref>x</ref>"),
    WikiPage("AnarchY", 0, "Anarchism", ""),
    WikiPage("Talk:Anarchism", 1, None, ""),
]


@pytest.mark.parametrize("suffix", [".xml", ".xml.bz2", ".xml.gz", ".xml.zst"])
def test_all_pages_come_in_order_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    dump = Dump(str(write_dump(tmp_path / f"dump{suffix}", PAGES)))
    assert list(dump.pages()) == WHOLE
    assert (dump.site.language, dump.site.dbname, dump.site.main_page) == ("en", "enwiki", "Main Page")
    assert dump.site.namespaces["Portal"] == 100


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim, whose wheel ships the dump, is missing")
def test_the_real_excerpt_has_its_106_articles_and_100_redirects() -> None:
    (url,) = dump_urls(["gensim"])
    pages = list(Dump(url).pages())
    whole = [page for page in pages if isinstance(page, WikiPage)]
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
        InputError,
        match=rf"dump.xml: is cut off at byte {path.stat().st_size} .*expected </mediawiki>.*1 pages before were whole",
    ):
        next(pages)


@pytest.mark.parametrize(("suffix", "num_lost"), [("bz2", 30), ("zst", 5), ("gz", 12)])
def test_a_compressed_file_that_was_cut_off_is_named_with_the_place_and_what_was_whole(
    tmp_path: Path, suffix: str, num_lost: int
) -> None:
    path = write_dump(tmp_path / f"dump.xml.{suffix}", PAGES)
    path.write_bytes(path.read_bytes()[:-num_lost])
    where = rf"dump.xml.{suffix}: ends at byte {path.stat().st_size} in the middle of its .*; fetch it again"
    kept = r"3 pages before were whole, but nothing of the file is kept"
    with pytest.raises(InputError, match=f"{where}; {kept}"):
        list(Dump(str(path)).pages())


def test_damage_in_one_span_is_told_with_what_is_kept_and_leaves_the_others_whole(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml.bz2", [page(f"Article {n}", "x" * 100) for n in range(30)])
    stored = bytearray(path.read_bytes())
    spans = cut(str(path), len(stored), len(stored) // 3)
    whole = [list(Dump(str(path), span=span).pages()) for span in spans]
    at = sum(spans[1]) // 2
    stored[at : at + 20] = bytes(20)
    path.write_bytes(stored)
    begin, end = spans[1]
    kept = rf"\d+ pages before were whole, but nothing of the part from byte {begin} to {end} is kept, other parts are"
    with pytest.raises(InputError, match=rf"dump.xml.bz2: damaged bz2 data near byte \d+ .*; fetch it again; {kept}"):
        list(Dump(str(path), span=spans[1]).pages())
    for n in (0, 2):
        assert list(Dump(str(path), span=spans[n]).pages()) == whole[n] != []


def test_only_the_span_with_the_last_stream_expects_the_end_of_the_dump(tmp_path: Path) -> None:
    text = (HEADER + "".join(PAGES)).encode()
    ends = [len(HEADER), len(HEADER + PAGES[0].rstrip())]
    for path in (tmp_path / "dump.xml", tmp_path / "dump.xml.bz2"):
        if path.suffix == ".xml":
            path.write_bytes(text)
            middle = ends[1]
        else:
            middle = write_streams(path, text, ends)[2]
        size = path.stat().st_size
        assert list(Dump(str(path), span=(0, middle)).pages()) == WHOLE[:1]
        with pytest.raises(InputError, match=rf"is cut off at byte {size} behind .* expected </mediawiki>"):
            list(Dump(str(path), span=(middle, size)).pages())


def test_a_dump_that_was_cut_off_behind_a_stream_s_first_bytes_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    starts = write_streams(path, (HEADER + PAGES[0] + FOOTER).encode(), [len(HEADER), len(HEADER + PAGES[0])])
    for num_bytes in range(1, 14):
        size = starts[-1] + num_bytes
        path.write_bytes(path.read_bytes()[: starts[-1]] + bz2.compress(FOOTER.encode())[:num_bytes])
        with pytest.raises(InputError, match=f"ends at byte {size} in the middle"):
            [list(Dump(str(path), span=span).pages()) for span in ((0, starts[-1]), (starts[-1], size))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pages=st.lists(st.sampled_from([*PAGES, PAGES[0].replace("</page>", ""), page("Long", "x" * 400)]), max_size=5),
    num_bytes=st.integers(1, 300),
    max_page_bytes=st.integers(200, 800),
)
def test_how_the_text_comes_in_chunks_changes_nothing(
    tmp_path: Path, pages: list[str], num_bytes: int, max_page_bytes: int
) -> None:
    path = write_dump(tmp_path / "dump.xml", pages)
    whole = list(Dump(str(path), max_page_bytes).pages())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed, "RAW_BYTES", num_bytes)
        assert list(Dump(str(path), max_page_bytes).pages()) == whole


def test_a_bz2_file_that_lacks_its_last_streams_is_named(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress((HEADER + PAGES[0]).encode()))
    with pytest.raises(InputError, match="is cut off at byte"):
        list(Dump(str(path)).pages())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            HEADER.replace("mediawiki.org/xml/export-0.10/", "w3.org/1999/xhtml"),
            r"schema http://www.w3.org/.*; expected",
        ),
        (HEADER + "<logitem><id>1</id></logitem>" + FOOTER, "holds log items; expected pages"),
        ("7z\xbc\xaf'\x1c", "is 7z data; expected plain, bz2, gzip or zstd"),
    ],
)
def test_a_dump_of_another_kind_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=rf"dump.xml: {said}|dump.xml: is of the {said}"):
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


@pytest.mark.slow
def test_a_page_longer_than_any_is_passed_over_in_bounded_memory(tmp_path: Path) -> None:
    path = str(write_dump(tmp_path / "dump.xml.gz", [page("A", "x" * 80_000_000), PAGES[0]]))
    tracemalloc.start()
    found = list(Dump(path).pages())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [BrokenPage(found[0].offset, "is longer than 67108864 bytes"), WHOLE[0]]  # type: ignore[union-attr]
    assert peak < 150_000_000
