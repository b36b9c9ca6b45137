from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from openwit.errors import InputError
from wit_queries.streams import InputStream
from wit_queries.titles import PAGES, VIEWS, page_title, read_views, title_queries, without_brackets

LINES = [
    "de Katze 900 0",
    "en Apollo_(god) 30 0",
    "en Caf%C3%A9 60 0",
    "en Rare 3 0",
    "en Special:Search 5000 0",
    "en anarchism 70 0",
    "en.m Apollo_(god) 25 0",
]


def hour(tmp_path: Path, lines: list[str]) -> InputStream:
    path = tmp_path / "pageviews-20260101-000000.gz"
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return InputStream(str(path))


def test_an_hour_keeps_its_project_s_titles_with_enough_views_on_desktop_and_mobile(tmp_path: Path) -> None:
    table, counts = read_views(hour(tmp_path, LINES), ("en", "en.m"), 50)
    assert table.to_pylist() == [
        {"title": "Anarchism", "views": 70},
        {"title": "Apollo (god)", "views": 55},
        {"title": "Café", "views": 60},
    ]
    expected = {"in": 7, "kept": 4, "dropped.project": 1, "dropped.namespace": 1, "dropped.hourly_views": 1, "rows": 3}
    assert counts == expected


def test_a_broken_line_among_many_is_counted(tmp_path: Path) -> None:
    lines = [f"en Title_{n} 60 0" for n in range(200)]
    _, counts = read_views(hour(tmp_path, [*lines, "en nonsense"]), ("en",), 50)
    assert counts["dropped.broken"] == 1
    assert counts["kept"] == 200


@pytest.mark.parametrize("lines", [["20260101,Cat,900", "20260101,Dog,7"], ['{"title": "Cat"}'], []])
def test_a_file_of_another_format_is_named_with_what_was_found(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(InputError, match=r"000000.gz: found .*expected .*'project title views bytes'"):
        read_views(hour(tmp_path, lines), ("en",), 50)


def test_a_cut_view_file_is_named_with_the_offset(tmp_path: Path) -> None:
    stream = hour(tmp_path, LINES)
    path = Path(stream.url)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=rf"ends at byte {path.stat().st_size}"):
        read_views(stream, ("en",), 50)


def test_names_in_addresses_become_titles() -> None:
    assert [page_title(name) for name in ("new_York", "Caf%C3%A9", "100%", "_x_")] == ["New York", "Café", "100%", "X"]


def test_only_the_closing_brackets_are_cut() -> None:
    assert without_brackets("Mercury (planet)") == "Mercury"
    assert without_brackets("Who (Is) He") == "Who (Is) He"
    assert without_brackets("(film)") == "(film)"


def resolve(views: dict[str, int], pages: dict[str, str | None], min_total: int = 1) -> dict[str, int]:
    view_table = pa.table([list(views), list(views.values())], schema=VIEWS)
    page_table = pa.table([list(pages), list(pages.values())], schema=PAGES)
    found = title_queries(view_table, page_table, min_total).table
    return dict(zip(found["query"].to_pylist(), found["views"].to_pylist(), strict=True))


def test_views_of_redirects_go_to_their_targets_through_chains() -> None:
    pages = {"Cat": None, "Kitty": "Cat", "Kitten": "Kitty", "Gone": "Not in this excerpt"}
    views = {"Cat": 5, "Kitty": 7, "Kitten": 11, "Gone": 3}
    assert resolve(views, pages) == {"cat": 23, "not in this excerpt": 3}


def test_redirects_in_a_circle_and_unknown_titles_are_no_articles() -> None:
    pages = {"A": "B", "B": "A", "Cat": None}
    assert resolve({"A": 9, "B": 9, "Unknown": 9, "Cat": 9}, pages) == {"cat": 9}


def test_titles_are_most_viewed_first_and_namesakes_add_up() -> None:
    pages: dict[str, str | None] = {"Mercury (planet)": None, "Mercury (god)": None, "Cat": None, "!!!": None}
    found = resolve({"Mercury (planet)": 3, "Mercury (god)": 4, "Cat": 6, "!!!": 50}, pages)
    assert list(found.items()) == [("mercury", 7), ("cat", 6)]


def test_thresholds_that_leave_no_title_name_the_most_viewed() -> None:
    with pytest.raises(InputError, match=r"terms.min_total_views=70: .*the most: 9"):
        resolve({"Cat": 9}, {"Cat": None}, min_total=70)
