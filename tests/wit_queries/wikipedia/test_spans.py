from __future__ import annotations

import bz2
import gzip
import itertools
import random
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.dumps import FOOTER, HEADER, page, write_dump, write_streams
from helpers.range_server import serving
from openwit.errors import InputError
from wit_queries.wikipedia import compressed as streams
from wit_queries.wikipedia.dump import BrokenPage, Dump, WikiPage
from wit_queries.wikipedia.spans import cut, index_url

CHANCE = random.Random(3)
NOISE = "".join(CHANCE.choices("abcdefghijklmnopqrstuvwxyz <&>\n", k=3000))
KINDS = [
    page("Article", "some [[text]] & more"),
    page("Long", NOISE),
    page("Old name", "#REDIRECT [[Article]]", redirect="Article"),
    page("Talk:Article", "é" * 50, namespace=1),
    page("Open", "x").replace("</page>", ""),
    page("Bare & sign", "x").replace("&amp;", "&"),
]
MULTISTREAM = "wiki-pages-articles-multistream.xml.bz2"


def shown(pages: list[WikiPage | BrokenPage]) -> list[WikiPage | str]:
    """The pages without the offsets of broken ones, which count from where a span begins."""
    return [entry.reason if isinstance(entry, BrokenPage) else entry for entry in pages]


def in_spans(url: str, size: int, split_bytes: int) -> list[WikiPage | str]:
    """All pages, read span by span."""
    return [p for span in cut(url, size, split_bytes) for p in shown(list(Dump(url, 2000, span).pages()))]


@st.composite
def dumps(draw: st.DrawFn) -> tuple[bytes, list[int], int]:
    """A dump's text, where its streams are cut, and into about how many spans it is. Half of the cuts lie in tags."""
    pages = draw(st.lists(st.sampled_from(KINDS), max_size=6))
    text = "".join((HEADER, *pages, FOOTER)).encode()
    tags = [
        at for mark in (b"<page>", b"</page>", b"</mediawiki>") for at in range(len(text)) if text.startswith(mark, at)
    ]
    in_tags = st.tuples(st.sampled_from(tags), st.integers(0, 12)).map(sum)
    cuts = draw(st.lists(st.one_of(st.integers(0, len(text)), in_tags), max_size=8))
    return text, [min(place, len(text)) for place in cuts], draw(st.integers(1, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(made=dumps())
def test_the_spans_of_a_dump_hold_each_of_its_pages_once_and_in_order(
    tmp_path: Path, made: tuple[bytes, list[int], int]
) -> None:
    text, cuts, num_spans = made
    plain, many, one = tmp_path / "dump.xml", tmp_path / "many.xml.bz2", tmp_path / "one.xml.bz2"
    plain.write_bytes(text)
    write_streams(many, text, cuts)
    one.write_bytes(bz2.compress(text))
    whole = shown(list(Dump(str(plain), 2000).pages()))
    for path in (plain, many, one):
        assert shown(list(Dump(str(path), 2000).pages())) == whole
        size = path.stat().st_size
        assert in_spans(str(path), size, size // num_spans) == whole


def test_each_span_of_a_dump_with_many_streams_has_work(tmp_path: Path) -> None:
    pages = [page(f"Article {n}", "".join(CHANCE.choices("abcdefgh ", k=500))) for n in range(60)]
    path = write_dump(tmp_path / "dump.xml.bz2", pages)
    size = path.stat().st_size
    spans = cut(str(path), size, size // 4)
    counts = [len(list(Dump(str(path), span=span).pages())) for span in spans]
    assert len(spans) == 4
    assert sum(counts) == 60
    assert min(counts) >= 10
    assert {Dump(str(path), span=span).site.language for span in spans} == {""}
    for span in spans:
        dump = Dump(str(path), span=span)
        next(dump.pages())
        assert (dump.site.language, dump.site.namespaces["Portal"]) == ("en", 100)


@pytest.mark.parametrize("suffix", [".xml.gz", ".xml.zst"])
def test_what_cannot_be_read_from_its_middle_is_one_span(tmp_path: Path, suffix: str) -> None:
    path = write_dump(tmp_path / f"dump{suffix}", KINDS[:4])
    size = path.stat().st_size
    assert cut(str(path), size, 100) == [(0, size)]
    assert len(in_spans(str(path), size, 100)) == 4


@given(st.integers(0, 5000), st.integers(1, 2000))
def test_spans_leave_no_gap_and_no_scrap(size: int, split_bytes: int) -> None:
    with fsspec.open("memory://dump.xml", "wb") as file:
        file.write(b"<mediawiki>")
    spans = cut("memory://dump.xml", size, split_bytes)
    assert (spans[0][0], spans[-1][1]) == (0, size)
    assert all(first[1] == second[0] for first, second in itertools.pairwise(spans))
    assert all(end - start == split_bytes for start, end in spans[:-1])
    assert len(spans) == 1 or 2 * (spans[-1][1] - spans[-1][0]) >= split_bytes


def with_index(folder: Path, *, compressed: bool = True) -> tuple[Path, Path, list[int]]:
    """A multistream dump of 40 pages, two a stream, its index as Wikimedia writes it, and where its streams begin."""
    pages = [page(f"Article {n}", "".join(CHANCE.choices("abcdefgh ", k=300))).encode() for n in range(40)]
    parts = [HEADER.encode(), *(a + b for a, b in zip(pages[::2], pages[1::2], strict=True)), FOOTER.encode()]
    dump = folder / MULTISTREAM
    starts = write_streams(dump, b"".join(parts), itertools.accumulate(map(len, parts)))
    lines = [
        f"{start}:{n}:Article: {n}\n" for stream, start in enumerate(starts[1:-1]) for n in (2 * stream, 2 * stream + 1)
    ]
    index = folder / "wiki-pages-articles-multistream-index.txt"
    data = "".join(lines).encode()
    if compressed:
        index = index.with_suffix(".txt.bz2")
        data = bz2.compress(data)
    index.write_bytes(data)
    return dump, index, starts


@pytest.mark.parametrize("compressed", [True, False])
def test_an_index_gives_the_same_pages_in_the_same_spans(tmp_path: Path, compressed: bool) -> None:
    dump, index, starts = with_index(tmp_path, compressed=compressed)
    size = dump.stat().st_size
    assert index_url(str(dump)) == str(index)
    with_it = cut(str(dump), size, 1500)
    index.unlink()
    without = cut(str(dump), size, 1500)
    assert len(without) > 3
    assert {start for start, _ in with_it} <= set(starts)
    assert with_it[-1][1] == size
    read = [[list(Dump(str(dump), span=span).pages()) for span in spans] for spans in (with_it, without)]
    assert [pages for pages in read[0] if pages] == [pages for pages in read[1] if pages]


def test_the_index_of_a_numbered_part_is_found(tmp_path: Path) -> None:
    names = ("w-pages-articles-multistream2.xml-p5p9.bz2", "w-pages-articles-multistream-index2.txt-p5p9.bz2")
    for name in names:
        (tmp_path / name).touch()
    assert index_url(f"{tmp_path}/{names[0]}") == f"{tmp_path}/{names[1]}"
    assert index_url(f"{tmp_path}/w-pages-articles.xml.bz2") is None
    assert index_url(f"{tmp_path}/w-pages-articles-multistream3.xml-p10p12.bz2") is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data, _: data[: len(data) // 2], r"ends at byte \d+ in the middle of its bz2 data"),
        (lambda _, starts: bz2.compress(b"".join(b"%d:1:A\n" % (s + 1) for s in starts[:-1])), "where none begins"),
        (lambda _, starts: bz2.compress(b"".join(b"%d:1:A\n" % s for s in starts[::-1])), "expected rising offsets"),
        (lambda _, starts: bz2.compress(b"%d:1:A\n" % (starts[-1] + 10**6)), r"below the dump's \d+ bytes"),
        (lambda *_: bz2.compress(b"<html>\nnot found\n"), "has the line '<html>'; expected offset:page id:title"),
        (lambda *_: bz2.compress(b""), "is empty"),
    ],
)
def test_a_damaged_or_foreign_index_is_named_with_a_way_out(tmp_path: Path, damage: object, said: str) -> None:
    dump, index, starts = with_index(tmp_path)
    assert callable(damage)
    index.write_bytes(damage(index.read_bytes(), starts))
    with pytest.raises(InputError, match=rf"index.txt.bz2: .*{said}.*move it away and the dump is cut without it"):
        cut(str(dump), dump.stat().st_size, 1500)


def test_spans_are_read_from_another_file_system(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml.bz2", KINDS[:4] * 5)
    with fsspec.open("memory://dump.xml.bz2", "wb") as file:
        file.write(path.read_bytes())
    size = path.stat().st_size
    assert in_spans("memory://dump.xml.bz2", size, 700) == shown(list(Dump(str(path), 2000).pages()))


def test_spans_are_read_over_http_and_each_fetches_little_more_than_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BLOCK_BYTES", 16 << 10)
    monkeypatch.setattr(streams, "RAW_BYTES", 4 << 10)
    pages = [page(f"Article {n}", CHANCE.randbytes(10_000).hex()) for n in range(40)]
    path = write_dump(tmp_path / "dump.xml.bz2", pages)
    size = path.stat().st_size
    with serving(tmp_path) as (url, sent):
        spans = cut(f"{url}/dump.xml.bz2", size, size // 4)
        assert len(spans) == 4
        assert sum(sent) < 100
        sent.clear()
        found = list(Dump(f"{url}/dump.xml.bz2", span=spans[2]).pages())
        assert found == list(Dump(str(path), span=spans[2]).pages())
        assert sum(sent) < size // 4 + 4 * (16 << 10)


def test_a_server_without_ranges_gives_one_span_that_is_read_through(tmp_path: Path) -> None:
    path = write_dump(tmp_path / "dump.xml.bz2", KINDS[:4] * 5)
    size = path.stat().st_size
    with serving(tmp_path, gives_ranges=False) as (url, _):
        assert cut(f"{url}/dump.xml.bz2", size, 700) == [(0, size)]
        found = list(Dump(f"{url}/dump.xml.bz2", span=(0, size)).pages())
    assert found == list(Dump(str(path)).pages())


def test_a_dump_that_was_compressed_as_gzip_under_another_name_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(gzip.compress("".join((HEADER, *KINDS[:4], FOOTER)).encode()))
    size = path.stat().st_size
    assert cut(str(path), size, 50) == [(0, size)]
    assert len(in_spans(str(path), size, 50)) == 4
