from __future__ import annotations

from pathlib import Path

import pytest

from openwit.errors import ConfigError
from pipelines.demo_web.pageviews import HOT_VIEWS, write_pageviews
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.dump import WikiSite
from wit_queries.wikipedia.page_views import read_views

TITLES = ["Anarchism", "Apollo (god)", "Albert Einstein", "50% of all", *(f"Title {n}" for n in range(100))]


def test_equal_arguments_give_equal_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    def written(name: str, titles: list[str], seed: int) -> list[bytes]:
        return [Path(url).read_bytes() for url in write_pageviews(titles, str(tmp_path / name), seed, 3)]

    once = written("once", TITLES, 1)
    assert once == written("again", TITLES[::-1], 1)
    assert once != written("other", TITLES, 2)
    assert len(set(once)) == 3


def test_files_are_named_by_their_hours_over_the_end_of_a_day(tmp_path: Path) -> None:
    names = [Path(url).name for url in write_pageviews(TITLES, str(tmp_path), 0, 25)]
    assert names[0] == "pageviews-20260101-000000.gz"
    assert names[24] == "pageviews-20260102-000000.gz"


def test_the_reader_of_real_files_reads_them_and_finds_what_they_hide(tmp_path: Path) -> None:
    (url,) = write_pageviews(TITLES, str(tmp_path), 0, 1)
    table, counts = read_views(InputStream(url), ("en", "en.m"), 1, WikiSite())
    assert set(TITLES) <= set(table["title"].to_pylist())
    assert max(table["views"].to_pylist()) > HOT_VIEWS
    assert counts["dropped.namespace"] == 5
    assert counts["dropped.project"] > 50
    assert counts["dropped.broken"] == 0


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_hours=0"):
        write_pageviews(TITLES, str(tmp_path), 0, 0)
