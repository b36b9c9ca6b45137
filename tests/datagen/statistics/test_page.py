from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.statistics.collect import collect
from datagen.statistics.distribution import distribution
from datagen.statistics.page import head_and_tail, histogram, render, short_power, write_page
from datagen.statistics.terminal import human_bytes, statistics_text
from helpers.crawled import Fetched, jpeg, scene, write_manifest, write_shards

VOID = {"meta", "img", "line", "rect", "polyline", "br"}


class Nesting(HTMLParser):
    """Fails where elements are not closed in order; keeps the addresses that are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def work(tmp_path: Path) -> Path:
    captions = ("<script>alert(1)</script>", "b", "c", "d", "e")
    images = [Fetched(f"http://host{n}.test/{n}.jpg", jpeg(scene(n)), captions) for n in range(3)]
    write_shards(tmp_path / "shards", [[*images, Fetched("http://host.test/gone", None)]])
    return tmp_path


def test_the_page_is_whole_and_loads_nothing(work: Path) -> None:
    write_page(
        collect(str(work), attribution="Drawings by OpenMoji, CC BY-SA 4.0"), str(work / "report" / "index.html")
    )
    text = (work / "report" / "index.html").read_text()
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert len(parser.loaded) == 3
    assert all(address.startswith("data:image/jpeg;base64,") for address in parser.loaded)
    assert "@import" not in text
    assert "url(" not in text
    assert "Drawings by OpenMoji, CC BY-SA 4.0" in text


def test_text_of_the_web_is_shown_as_text(work: Path) -> None:
    text = render(collect(str(work))).decode()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "and 2 more" in text


def test_equal_statistics_give_equal_pages(work: Path) -> None:
    assert render(collect(str(work))) == render(collect(str(work)))


def test_the_terminal_shows_the_main_numbers(work: Path) -> None:
    text = statistics_text(collect(str(work)))
    assert "3 images, 15 pairs, 1 shards" in text
    assert re.search(r"crawl\s+images\s+4\s+3\s+75\.0%", text)
    assert re.search(r"crawl\s+http_404\s+1\s+25\.0%", text)
    assert "host0.test" in text


def test_before_the_crawl_page_and_terminal_show_the_queries_and_no_images(tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "cap").mkdir()
    names = {"query_id": pa.array([0, 1], pa.int32()), "query": ["<cat>", "dog"], "source": ["word", "title"]}
    pq.write_table(pa.table(names), tmp_path / "queries" / "queries.parquet")
    decided = {"query_id": pa.array([0], pa.int32()), "matches": [2000], "selected": [50]}
    pq.write_table(pa.table(decided), tmp_path / "cap" / "queries.parquet")
    for folder in ("queries", "cap"):
        write_manifest(tmp_path / folder, folder, [])
    statistics = collect(str(tmp_path))
    text = render(statistics).decode()
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert all(part in text for part in ("By number of matches", "By source", "&lt;cat&gt;", "<polyline"))
    assert "Width in pixels" not in text
    shown = statistics_text(statistics)
    assert "nothing crawled yet" in shown
    assert re.search(r"from 1,000\s+1\s+1\s+1\s+2,000\s+50\s+100\.0%", shown)


def test_bars_hold_their_values() -> None:
    drawing = histogram("Words", distribution(Counter({1: 3, 2: 6})))
    assert "<title>1: 3</title>" in drawing.svg
    assert "<title>2 and more: 6</title>" in drawing.svg
    assert "None known" in histogram("Words", distribution(Counter())).note


@pytest.mark.parametrize("curve", [[], [(1, 1, 1)], [(1, 500, 20), (10, 30, 20), (70, 1, 1)]])
def test_a_curve_of_any_length_can_be_drawn(curve: list[tuple[int, int, int]]) -> None:
    drawing = head_and_tail(curve)
    assert "nan" not in drawing
    assert all(points.count(",") > 1 for points in re.findall(r'points="([^"]*)"', drawing))


def test_labels_of_an_axis_are_short() -> None:
    assert [short_power(power) for power in range(11)] == "1 10 100 1k 10k 100k 1M 10M 100M 1G 10G".split()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2.0 GB"), (5 * 10**15, "5,000.0 TB")],
)
def test_bytes_are_readable(number: int, text: str) -> None:
    assert human_bytes(number) == text
