from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from datagen.match.urls import kind_of
from datagen.schemas import PAIRS
from datagen.sources import tables
from datagen.sources.columns import Wanted
from helpers.places import SHARED
from openwit.errors import InputError

USUAL = Wanted()
PAIR_ROWS = [("http://a.test/1.jpg", "A cat"), ("http://a.test/2.jpg", 'A "dog", ü')]


def read(path: Path, wanted: Wanted = USUAL) -> tuple[list[dict[str, Any]], Counter[str]]:
    counts: Counter[str] = Counter()
    found = list(tables.read_pairs(str(path), kind_of(str(path), "auto"), wanted, counts))
    assert all(table.schema.equals(PAIRS) for table in found)
    return [row for table in found for row in table.to_pylist()], counts


def texts(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["url"], row["caption"]) for row in rows]


def write(path: Path, names: tuple[str, str]) -> Path:
    """PAIR_ROWS as a table of the kind that the name says, with a column before and one between."""
    rows = [{"id": 7, names[0]: url, "width": None, names[1]: text} for url, text in PAIR_ROWS]
    if ".parquet" in path.name:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".jsonl" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif ".csv" in path.name:
        text = "".join(
            [
                f"id,{names[0]},width,{names[1]}\n",
                *(f'7,{u},,"{t.replace(chr(34), chr(34) * 2)}"\n' for u, t in PAIR_ROWS),
            ]
        )
    else:
        text = "".join([f"id\t{names[0]}\twidth\t{names[1]}\n", *(f"7\t{u}\t\t{t}\n" for u, t in PAIR_ROWS)])
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text.encode()))  # type: ignore[operator]
    return path


@pytest.mark.parametrize("names", [("URL", "TEXT"), ("url", "text"), ("url", "alt"), ("url", "caption")])
@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.jsonl.zst"])
def test_tables_of_every_kind_are_read_by_the_usual_names(tmp_path: Path, name: str, names: tuple[str, str]) -> None:
    rows, counts = read(write(tmp_path / name, names))
    assert texts(rows) == PAIR_ROWS
    assert all(not row[name] for row in rows for name in ("caption_from", "base_url", "page_url"))
    assert not +counts


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv", "a.jsonl"])
def test_other_columns_are_named_by_the_config(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ("thumbnail", "subject"))
    assert texts(read(path, Wanted("thumbnail", "subject"))[0]) == PAIR_ROWS
    with pytest.raises(InputError, match="which column is the image URL"):
        read(path)


def test_tables_without_header_are_read_like_cc3m_and_cc12m(tmp_path: Path) -> None:
    (tmp_path / "cc3m.tsv").write_text("".join(f"{text}\t{url}\n" for url, text in PAIR_ROWS))
    (tmp_path / "cc12m.tsv").write_text("".join(f"{url}\t{text}\n" for url, text in PAIR_ROWS))
    for name in ("cc3m.tsv", "cc12m.tsv"):
        rows, _ = read(tmp_path / name)
        assert texts(rows) == PAIR_ROWS
        assert [row["place"] for row in rows] == [1, 2]


def test_the_page_of_a_pair_is_kept_where_the_table_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"url": "u", "alt": "t", "page_url": "p"}\n{"url": "v", "alt": null}\n')
    pq.write_table(pa.table({"page_url": ["p", None], "alt": ["t", None], "url": ["u", "v"]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        rows, counts = read(tmp_path / name)
        assert [(row["url"], row["caption"], row["page_url"]) for row in rows] == [("u", "t", "p"), ("v", "", "")]
        assert not +counts


def test_rows_of_a_parquet_file_that_are_no_text_are_counted(tmp_path: Path) -> None:
    columns = {"url": [b"u", b"\xff", None, b"w"], "text": [b"t", b"t", b"t", b"\xff"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=3)
    rows, counts = read(tmp_path / "a.parquet")
    assert [(row["url"], row["place"]) for row in rows] == [("u", 0)]
    assert counts == {"records_damaged": 3}


def test_strings_of_a_parquet_file_that_are_no_utf8_are_counted(tmp_path: Path) -> None:
    wrong = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"t\xff"))
    dictionary = pa.array(["u", "v"]).dictionary_encode()
    pq.write_table(pa.table({"url": dictionary, "text": wrong}), tmp_path / "a.parquet")
    rows, counts = read(tmp_path / "a.parquet")
    assert texts(rows) == [("u", "t")]
    assert counts == {"records_damaged": 1}


def test_a_damaged_row_group_is_counted_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    names = [f"http://s.test/{number}" for number in range(30)]
    pq.write_table(pa.table({"url": names, "text": names}), path, row_group_size=10, use_dictionary=False)
    at = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[at : at + 40] = b"\xff" * 40
    path.write_bytes(data)
    rows, counts = read(path)
    assert [row["place"] for row in rows] == [*range(10), *range(20, 30)]
    assert counts == {"records_damaged": 10}


def test_objects_without_text_are_counted(tmp_path: Path) -> None:
    lines = [
        '{"url": "u", "text": "t"}',
        '{"url": 7, "text": "t"}',
        '{"text": "t"}',
        '{"url": "u", "text": ["t"]}',
        "{",
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, counts = read(tmp_path / "a.jsonl")
    assert texts(rows) == [("u", "t")]
    assert counts == {"records_damaged": 4}


def test_tables_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCH_ROWS", 3)
    rows = [{"url": f"u{number}", "text": "t"} for number in range(10)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=5)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, sizes in (("a.parquet", [3, 2, 3, 2]), ("a.jsonl", [3, 3, 3, 1])):
        found = list(tables.read_pairs(str(tmp_path / name), kind_of(name, "auto"), Wanted(), Counter()))
        assert [len(table) for table in found] == sizes
        assert [url for table in found for url in table["url"].to_pylist()] == [row["url"] for row in rows]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}: "):
        read(tmp_path / name)


def test_a_parquet_column_of_numbers_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": [1], "text": ["t"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: a column of int64; expected text"):
        read(tmp_path / "a.parquet")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared Conceptual Captions table is not on this machine")
def test_real_conceptual_captions_are_read() -> None:
    rows, counts = read(SHARED / "cc3m_validation.tsv.gz")
    assert len(rows) == 15_833 - counts["records_damaged"]
    assert not +counts
    assert all(row["url"].startswith("http") and row["caption"] for row in rows)


def test_keys_of_objects_are_looked_up_in_each(tmp_path: Path) -> None:
    lines = [
        '{"url": "u"}',
        '{"text": "a", "URL": "v", "height": NaN, "page_url": "p"}',
        '{"alt": "b", "Url": "w", "page_url": NaN}',
        '{"text": NaN, "url": "x"}',
        '{"text": "c"}',
        '{"text": 7, "url": "y"}',
        '{"text": "\\ud800", "url": "y"}',
        '{"text": "d", "url": ["y"]}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, counts = read(tmp_path / "a.jsonl")
    found = [(row["url"], row["caption"], row["page_url"]) for row in rows]
    assert found == [("u", "", ""), ("v", "a", "p"), ("w", "b", ""), ("x", "", "")]
    assert counts == {"records_damaged": 4}
    named, counts = read(tmp_path / "a.jsonl", Wanted("url", "alt"))
    assert [row["url"] for row in named] == ["u", "x", "y", "y"]
    with pytest.raises(InputError, match=r"a\.jsonl: lacks the column subject; it has url, text, URL"):
        read(tmp_path / "a.jsonl", Wanted("url", "subject"))


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_beside_an_image_url_the_url_is_the_page(tmp_path: Path, name: str) -> None:
    first = {"url": "http://s.test/p", "image_url": "http://s.test/i", "caption": "a cat"}
    rows = [first, {**first, "page_url": "q"}] if name == "a.jsonl" else [first, first]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    elif name == "a.jsonl":
        sparse = {"url": "http://s.test/p", "caption": "no image"}
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in [sparse, *rows]))
    else:
        (tmp_path / name).write_text("\n".join([",".join(first), *(",".join(row.values()) for row in rows)]))
    found, counts = read(tmp_path / name)
    pages = ["http://s.test/p", "q" if name == "a.jsonl" else "http://s.test/p"]
    assert [(row["url"], row["page_url"]) for row in found] == [("http://s.test/i", page) for page in pages]
    assert counts["records_damaged"] == (name == "a.jsonl")


URLS, TEXTS = ["http://s.test/1", "http://s.test/2", None], ["a cat", None, "a dog"]
ODD_TYPES = [
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
    pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()), pa.null(),
]  # fmt: skip


def odd(values: list[str | None], kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, pa.string()).cast(kind)


@pytest.mark.parametrize("kind", ODD_TYPES, ids=str)
def test_text_of_every_type_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"url": odd(URLS, kind), "text": odd(TEXTS, kind), "page_url": odd(TEXTS, kind)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    rows, counts = read(tmp_path / "a.parquet")
    if pa.types.is_null(kind):
        assert (rows, counts["records_damaged"]) == ([], 3)
    else:
        assert [(row["url"], row["caption"], row["page_url"]) for row in rows] == [
            (URLS[0], "a cat", "a cat"),
            (URLS[1], "", ""),
        ]
        assert counts["records_damaged"] == 1
    pq.write_table(pa.table({**columns, "url": ["u"] * 3, "text": pa.nulls(3)}), tmp_path / "a.parquet")
    rows, counts = read(tmp_path / "a.parquet")
    assert [row["caption"] for row in rows] == ["", "", ""]
    assert not counts["records_damaged"]


def test_of_columns_of_one_name_the_first_is_read(tmp_path: Path) -> None:
    arrays = [pa.array(["u", "v"]), pa.array(["a", "b"]), pa.array([1, 2]), pa.array(["w", "x"]), pa.array(["c", "d"])]
    pq.write_table(pa.Table.from_arrays(arrays, ["url", "text", "n", "url", "text"]), tmp_path / "a.parquet")
    assert texts(read(tmp_path / "a.parquet")[0]) == [("u", "a"), ("v", "b")]
    assert texts(read(tmp_path / "a.parquet", Wanted("text", "url"))[0]) == [("a", "u"), ("b", "v")]


ODD_COLUMNS = {
    "numbers": pa.array([1, 2]),
    "lists": pa.array([["u"], ["v"]]),
    "structs": pa.array([{"url": "u"}, {"url": "v"}]),
    "maps": pa.array([[("a", "u")], []], pa.map_(pa.string(), pa.string())),
    "numbers in a dictionary": pa.array([1, 2]).dictionary_encode(),
    "dates": pa.array([0, 1], pa.timestamp("s")),
    "booleans": pa.array([True, False]),
    "decimals": pa.array([1, 2], pa.decimal128(5, 2)),
}


@pytest.mark.parametrize("column", ODD_COLUMNS)
@pytest.mark.parametrize("name", ["url", "text"])
def test_a_column_that_is_no_text_is_an_error_that_names_the_file(tmp_path: Path, name: str, column: str) -> None:
    table = pa.table({"url": ["u", "v"], "text": ["a", "b"]})
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, ODD_COLUMNS[column]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: a column of .*; expected text"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ODD_COLUMNS)
def test_a_page_that_is_no_text_is_no_page(tmp_path: Path, column: str) -> None:
    columns = {"url": ["u", "v"], "text": ["a", "b"], "page_url": ODD_COLUMNS[column]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert [row["page_url"] for row in read(tmp_path / "a.parquet")[0]] == ["", ""]


@pytest.mark.parametrize("rows", [pa.table({"a": []}), pa.Table.from_arrays([], [])])
def test_a_table_without_the_columns_is_an_error_that_names_it(tmp_path: Path, rows: pa.Table) -> None:
    pq.write_table(rows, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: which column is the image URL"):
        read(tmp_path / "a.parquet")


def test_a_table_without_rows_gives_none(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"url": pa.array([], pa.string()), "text": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    assert read(tmp_path / "a.parquet") == ([], Counter())
