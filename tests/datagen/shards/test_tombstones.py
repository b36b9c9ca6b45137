from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.schemas import SELECTED
from datagen.shards.tombstones import (
    REMOVED_URL,
    Request,
    read_list,
    read_request,
    request_folders,
    tombstones,
    write_request,
)
from openwit.errors import InputError
from openwit.shards.notes import pair_uid


def selected(*rows: tuple[str, list[str]]) -> pa.Table:
    captions = [
        [
            {"uid": pair_uid(url, text), "caption": text, "page_url": "", "query_ids": [1], "selected_by": [1]}
            for text in texts
        ]
        for url, texts in rows
    ]
    return pa.table([[url for url, _ in rows], captions], schema=SELECTED)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://example.org/a.jpg", True),
        ("https://cdn.EXAMPLE.org:8080/a.jpg?x#y", True),
        ("http://example.org./a.jpg", True),
        ("http://notexample.org/a.jpg", False),
        ("http://example.org.evil.test/a.jpg", False),
        ("http://xn--bcher-kva.test/a.jpg", True),
        ("http://bücher.test/a.jpg", True),
        ("no url", False),
        ("", False),
    ],
)
def test_a_domain_names_what_lies_at_it_and_below_it(tmp_path: Path, url: str, named: bool) -> None:
    (tmp_path / "domains").write_text("Example.org\n\n*.bücher.test\n")
    request = Request(domains=read_list(str(tmp_path / "domains"), "domain"))
    assert request.names_image(url) == ("domain" if named else "")


def test_a_list_is_one_entry_a_line_or_the_column_of_a_parquet_file(tmp_path: Path) -> None:
    uids = [pair_uid("u", str(n)) for n in range(3)]
    (tmp_path / "uids.txt").write_text("\r\n".join(["", *uids, ""]))
    pq.write_table(pa.table({"uid": [*uids, None, uids[0]], "reason": ["x"] * 5}), tmp_path / "uids.parquet")
    for name in ("uids.txt", "uids.parquet"):
        assert read_list(str(tmp_path / name), "uid") == set(uids)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("uid", "abc", "'abc' is no uid; expected 32 hex digits"),
        ("url", "example.org/a.jpg", "is no URL; expected e.g. https"),
        ("domain", "exa mple", "is no domain; expected e.g. example.org"),
        ("uid", "\n", "names no uid; write one a line"),
    ],
)
def test_a_list_of_another_kind_is_refused(tmp_path: Path, kind: str, text: str, message: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError, match=message):
        read_list(str(tmp_path / "list"), kind)


def test_a_row_loses_the_named_captions_and_a_named_image_its_url(tmp_path: Path) -> None:
    before = selected(("http://a/1", ["x", "y"]), ("http://a/2", ["x"]), ("http://a/3", ["x"]), ("http://b/4", ["z"]))
    request = Request(frozenset({pair_uid("http://a/1", "x"), pair_uid("http://a/2", "x")}), frozenset({"http://b/4"}))
    after = request.without_named(before)
    assert after.schema == before.schema
    assert after["url"].to_pylist() == ["http://a/1", REMOVED_URL, "http://a/3", REMOVED_URL]
    texts = [[entry["caption"] for entry in entries] for entries in after["captions"].to_pylist()]
    assert texts == [["y"], [""], ["x"], [""]]
    assert after.slice(2, 1) == before.slice(2, 1)


names = st.frozensets(st.text("abc", min_size=1, max_size=3), max_size=5)


@settings(max_examples=20)
@given(names, names, names)
def test_requests_are_read_as_they_were_written_and_add_up(
    tmp_path_factory: pytest.TempPathFactory, uids: frozenset[str], urls: frozenset[str], domains: frozenset[str]
) -> None:
    folder = str(tmp_path_factory.mktemp("removed"))
    first, second = Request(uids, urls), Request(domains=domains)
    for number, request in enumerate((first, second)):
        write_request(f"{folder}/{number:04d}", request)
        assert read_request(f"{folder}/{number:04d}/request.parquet") == request
    assert len(request_folders(folder)) == 2
    assert tombstones(folder) == first | second == Request(uids, urls, domains)


def test_nothing_was_ever_removed_where_there_is_no_request(tmp_path: Path) -> None:
    assert not len(tombstones(str(tmp_path / "removed")))
