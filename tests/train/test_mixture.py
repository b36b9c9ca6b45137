from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.errors import ConfigError
from train.mixture import Entry, parse_entries, parse_entry


@pytest.mark.parametrize(
    ("text", "folder", "passes"),
    [
        ("shards", "shards", 1),
        ("shards=2", "shards", 2),
        ("shards=.5", "shards", 0.5),
        ("s3://bucket/a=b/shards", "s3://bucket/a=b/shards", 1),
        ("s3://bucket/a=b/shards=0.25", "s3://bucket/a=b/shards", 0.25),
        ("year=24/", "year=24/", 1),
        ("year=24=2", "year=24", 2),
        ("https://host/shards?token=abc", "https://host/shards?token=abc", 1),
        ("shards=1e-2", "shards", 0.01),
    ],
)
def test_only_a_number_at_the_end_counts_as_passes(text: str, folder: str, passes: float) -> None:
    assert parse_entry(text) == Entry(folder, passes)


@given(st.text("a=2./e-", min_size=1), st.floats(1e-6, 100))
def test_an_entry_written_out_is_read_as_the_same(folder: Any, passes: Any) -> None:
    for entry in (Entry(folder, passes), Entry(folder, 1.0)):
        assert parse_entry(str(entry)) == entry


@pytest.mark.parametrize("text", ["a=0", "a=-1", "a=nan", "a=inf", "a=1e9", "year=2024"])
def test_passes_that_cannot_be_meant_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"{text}: PASSES must be more than 0 .*=0.5; .* write {text}/"):
        parse_entry(text)


@pytest.mark.parametrize("text", ["", "=2"])
def test_a_missing_folder_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the folder is missing; write FOLDER or FOLDER=PASSES"):
        parse_entry(text)


def test_a_folder_named_twice_is_refused_with_the_sum_of_its_passes() -> None:
    assert parse_entries(("a=2", "b")) == (Entry("a", 2), Entry("b"))
    with pytest.raises(ConfigError, match=r"data=a,b,a/=0\.5: a/ is named twice; write a/=1\.5 once"):
        parse_entries(("a", "b", "a/=0.5"))


def test_a_relative_folder_is_found_from_elsewhere_and_means_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = [
        str(parse_entry(text).on_this_machine) for text in ("here", "here=2", "year=24/", "s3://b/x=2", "s3://b/y=2/")
    ]
    assert entries == [
        f"{tmp_path}/here", f"{tmp_path}/here=2", f"{tmp_path}/year=24=1", "s3://b/x=2", "s3://b/y=2/"
    ]  # fmt: skip
    assert [parse_entry(text).passes for text in entries] == [1, 2, 1, 2, 1]
