from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datagen.sources import wat
from helpers import wat as made
from helpers.wat import image, page, wat_file
from openwit.errors import InputError

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "warc"
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
    assert read(tmp_path / "x.wat.gz", made.member(b"WARC-Type: conversion\r\n", body))[0] == []


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
def test_real_archives_are_walked_to_their_end() -> None:
    for name, records in (("whirlwind.warc.wat.gz", 2), ("whirlwind.warc.gz", 4), ("aut_example.warc.gz", 822)):
        counts: Counter[str] = Counter()
        assert list(wat.read_wat(str(SHARED / name), counts)) == []
        assert counts == {"records": records}, name
