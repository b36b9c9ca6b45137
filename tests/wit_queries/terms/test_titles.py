from __future__ import annotations

import pyarrow as pa
import pytest

from openwit.errors import InputError
from wit_queries.terms import titles
from wit_queries.terms.articles import TITLES
from wit_queries.terms.titles import Titles, title_queries, without_brackets
from wit_queries.wikipedia.page_views import VIEWS


def test_only_the_closing_brackets_are_cut() -> None:
    assert without_brackets("Mercury (planet)") == "Mercury"
    assert without_brackets("Who (Is) He") == "Who (Is) He"
    assert without_brackets("(film)") == "(film)"


def find(views: dict[str, int], pages: dict[str, str | None], min_total: int = 1, main_page: str = "") -> Titles:
    """The titles of pages that stand in tables of one row each."""
    view_table = pa.table([list(views), list(views.values())], schema=VIEWS)
    tables = [pa.table([[title], [redirect]], schema=TITLES) for title, redirect in pages.items()]
    return title_queries(view_table, lambda: tables, min_total, main_page)


def resolve(views: dict[str, int], pages: dict[str, str | None], min_total: int = 1) -> dict[str, int]:
    found = find(views, pages, min_total).table
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


def test_a_title_with_exactly_so_many_views_is_a_query() -> None:
    assert resolve({"Cat": 9, "Dog": 8}, {"Cat": None, "Dog": None}, min_total=9) == {"cat": 9}


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_pages_may_come_in_any_batches(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "ROWS_AT_ONCE", rows_at_once)
    test_views_of_redirects_go_to_their_targets_through_chains()


def test_only_viewed_pages_and_what_they_lead_to_are_held() -> None:
    pages = {f"Other {n}": None if n % 2 else "Other 1" for n in range(1000)} | {"Cat": None, "Kitty": "Cat"}
    tables = [pa.table([list(pages), list(pages.values())], schema=TITLES)]
    held = titles._relevant(pa.array(["Kitty", "Unknown"]), lambda: tables)
    assert held["title"].to_pylist() == ["Kitty", "Cat"]


def test_the_main_page_is_no_title_however_it_was_reached() -> None:
    views = {"Main Page": 10**6, "Start": 10**5, "Cat": 10}
    pages: dict[str, str | None] = {"Main Page": None, "Start": "Main Page", "Cat": None}
    assert find(views, pages, main_page="Main Page").table["query"].to_pylist() == ["cat"]


def test_every_viewed_title_ends_in_one_counted_state() -> None:
    pages: dict[str, str | None] = {"Mercury (planet)": None, "Mercury (god)": None, "Merc": "Mercury (god)"}
    pages |= {"!!!": None, "Rare": None, "Home": None}
    views = {"Mercury (planet)": 9, "Mercury (god)": 9, "Merc": 9, "!!!": 9, "Rare": 1, "Home": 9, "Gone": 9}
    found = find(views, pages, min_total=5, main_page="Home")
    reasons = ("no_article", "main_page", "redirect", "total_views", "no_words", "namesake")
    assert found.dropped == dict.fromkeys(reasons, 1)
    assert found.table.num_rows == len(views) - found.dropped.total() == 1
