from __future__ import annotations

import re
from pathlib import Path

import pytest

from openwit.errors import ConfigError, InputError
from wit_queries.matching import table
from wit_queries.matching.matcher import QueryMatcher
from wit_queries.matching.table import HEADER, MAGIC, VERSION


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    QueryMatcher(["new york", "a", "A", "extraordinarily"]).save(str(tmp_path / "queries.match"))
    return tmp_path / "queries.match"


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(str(path)) + message):
        QueryMatcher.open(str(path))


def test_a_file_cut_anywhere_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100, 64):
        saved.write_bytes(whole[:size])
        refused(saved, f": holds {size} bytes, expected {len(whole)}")
    for size in (63, 8):
        saved.write_bytes(whole[:size])
        refused(saved, f": is cut short: {size} bytes")
    for size in (7, 0):
        saved.write_bytes(whole[:size])
        refused(saved, ": is no matcher")


def test_a_file_with_more_behind_it_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved, ": holds .* bytes, expected")


def test_a_file_of_another_version_is_refused(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    whole[len(MAGIC)] = VERSION + 1
    saved.write_bytes(whole)
    refused(saved, f": is a matcher of version {VERSION + 1}, expected {VERSION}")


@pytest.mark.parametrize("place", [12, 16, 24, HEADER.size - 1, HEADER.size, 64, 200, -1])
def test_a_file_with_a_changed_byte_is_refused(saved: Path, place: int) -> None:
    whole = bytearray(saved.read_bytes())
    whole[place] ^= 1
    saved.write_bytes(whole)
    refused(saved, ": (is damaged|holds)")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queries.parquet").write_bytes(b"PAR1" * 40)
    refused(tmp_path / "queries.parquet", ": is no matcher; expected a file that QueryMatcher.save wrote")
    refused(tmp_path / "nothing", ": no such file")


def test_a_file_that_is_not_local_is_refused() -> None:
    with pytest.raises(InputError, match=r"s3://bucket/queries.match: .*copy it to a local file"):
        QueryMatcher.open("s3://bucket/queries.match")


def test_a_saved_file_is_the_same_for_the_same_queries(saved: Path, tmp_path: Path) -> None:
    QueryMatcher(["new york", "a", "A", "extraordinarily"]).save(str(tmp_path / "again.match"))
    assert saved.read_bytes() == (tmp_path / "again.match").read_bytes()


def test_a_list_that_the_table_cannot_count_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "NODE_BITS", 4)
    with pytest.raises(ConfigError, match="3 queries of 6 words: too many"):
        QueryMatcher(["a b", "c d", "e f"])
