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
