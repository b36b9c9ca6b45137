"""Failing inputs of others, each with its right value, where they lie beside the checkout. Twins of all of them are in
the tests of the files concerned."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from datagen.config import FileKind
from datagen.crawl.fetch.url import WebAddress
from datagen.match.urls import kind_of, resolve_all
from datagen.sources.columns import Wanted
from datagen.sources.tables import read_pairs
from datagen.sources.wat import LinkTable, read_wat
from helpers.places import CASES
from openwit.errors import InputError
from openwit.storage.tables import one_chunk
from wit_queries.text.normalize import normalize
from wit_queries.wikipedia.wikitext import plain_text

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not on this machine")
APPLES = [("1", "a red apple"), ("2", "a green pear"), ("3", "a boat")]


def read(name: str) -> tuple[list[dict[str, Any]], int]:
    """The pairs of a table and how many rows are damaged."""
    counts: Counter[str] = Counter()
    path = str(CASES / name)
    kind: FileKind = kind_of(path, "auto")
    rows = [row for table in read_pairs(path, kind, Wanted(), counts) for row in table.to_pylist()]
    return rows, counts["records_damaged"]


@pytest.mark.parametrize(
    ("name", "expected", "damaged"),
    [
        ("data/05_open_quote.csv", [("2", "a cat"), ("3", "a dog"), ("4", "a boat")], 1),
        ("data/06_latin1_in_quotes.csv", [("2", "a pear"), ("3", "x")], 1),
        ("data/07_sparse_first.jsonl", [("1", ""), ("2", "a cat")], 0),
        ("data/07_page_in_second_row.jsonl", [("1", "a dog"), ("2", "a cat")], 0),
        ("data/08_nan.jsonl", [("1", "a cat"), ("2", "a dog")], 0),
        ("data/09_null_page.parquet", APPLES, 0),
        ("data/09_null_caption.parquet", [("1", ""), ("2", ""), ("3", "")], 0),
        ("data/09_view.parquet", APPLES, 0),
        ("data/09_dup.parquet", APPLES, 0),
    ],
)
def test_rows_of_odd_tables_are_kept_or_counted(name: str, expected: list[tuple[str, str]], damaged: int) -> None:
    rows, num_damaged = read(name)
    assert [(row["url"], row["caption"]) for row in rows] == [
        (f"http://a.example.test/{number}.jpg", caption) for number, caption in expected
    ]
    assert num_damaged == damaged
    pages = {"http://a.example.test/2.jpg": "http://p.example.test/"} if name.startswith("data/07") else {}
    assert [row["page_url"] for row in rows] == [pages.get(row["url"], "") for row in rows]


def test_captions_with_ampersands_stay_letter_by_letter() -> None:
    lines = (CASES / "data" / "04_captions.tsv").read_text().splitlines()[1:]
    assert [row["caption"] for row in read("data/04_captions.tsv")[0]] == [line.split("\t")[1] for line in lines]


@pytest.mark.parametrize("name", ["string_view.parquet", "url_and_image_url.parquet"])
def test_the_image_is_what_the_table_says(name: str) -> None:
    assert [(row["url"], row["caption"]) for row in read(f"sources/{name}")[0]] == [
        ("https://cdn.example/cat.jpg", "a cat")
    ]


def test_backslashes_are_slashes_for_what_is_asked() -> None:
    url = read("data/19_backslash_urls.tsv")[0][0]["url"]
    resolved = resolve_all(pa.array([""]).dictionary_encode(), pa.array([url]))
    assert WebAddress.parse(resolved[0].as_py()).target == "/images/cat.jpg"


def test_a_base_that_is_a_script_is_none() -> None:
    body = (CASES / "data" / "20_base_javascript.json").read_bytes()
    for given in (body, body.replace(b"javascript:void(0)", b"data:text/html,x")):
        links = LinkTable(len(given))
        links.add(given, "http://p.example.test/dir/page.html", 0, Counter())
        table = links.take(Counter())
        found = resolve_all(one_chunk(table["base_url"]), one_chunk(table["url"]))
        assert found.to_pylist() == ["http://p.example.test/dir/g.jpg"]


def test_archives_are_read_or_refused_as_what_they_are() -> None:
    counts: Counter[str] = Counter()
    assert sum(map(len, read_wat(str(CASES / "sources" / "lf_only.warc.wat.gz"), counts))) > 0
    assert counts == {"records": 1}
    with pytest.raises(InputError, match="it is a WARC file"):
        list(read_wat(str(CASES / "sources" / "given_as_wat.warc.gz"), Counter()))


def test_wikitext_gives_its_words() -> None:
    lines = [line for line in (CASES / "sources" / "wikitext.txt").read_text().splitlines() if "\t->\t" in line]
    assert len(lines) >= 3
    for line in lines:
        source, _, words = line.partition("\t->\t")
        assert normalize(plain_text(source)) == words
