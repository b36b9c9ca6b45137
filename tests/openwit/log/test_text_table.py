from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.log.text_table import cell, numeric_columns, text_table


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_columns_are_even_with_numbers_to_the_right() -> None:
    shown = text_table(("step", "in", "share"), [("match", 10_557, "84.2%"), ("shuffle", 9, "100.0%")])
    assert shown.splitlines() == [
        "  step         in   share",
        "  match    10,557   84.2%",
        "  shuffle       9  100.0%",
    ]


def test_long_text_is_folded_in_its_column_and_no_number_is_cut() -> None:
    row = ("a name " * 9, 123_456_789, "reason 1,234, " * 9)
    lines = text_table(("name", "number", "why"), [row]).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("123,456,789" in line for line in lines) == 1
    assert "…" not in "".join(lines)
    assert " ".join(lines).split().count("1,234,") == 9


def test_text_is_not_folded_at_a_no_break_space() -> None:
    reasons = ", ".join(f"reason_{n}\u00a0{n:,}" for n in range(1000, 1012))
    lines = text_table(("why",), [(reasons,)]).splitlines()[1:]
    assert len(lines) > 1
    assert all(line.strip().startswith("reason_") for line in lines)
    assert " ".join(line.strip() for line in lines) == reasons.replace("\u00a0", " ")


def test_a_wide_terminal_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert len(text_table((), [("x" * 150, 1)]).splitlines()) == 1


def test_a_terminal_that_is_too_narrow_gets_longer_lines_and_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    shown = text_table(("what", "in", "kept", "size"), [("two words", 123_456_789, 987_654_321, "1.5 TB")])
    assert all(number in shown for number in ("123,456,789", "987,654,321", "1.5 TB"))
    assert "…" not in shown


def test_markup_and_emoji_names_are_text() -> None:
    assert text_table((), [("[bold]x[/bold]", ":cat:")], indent=0) == "[bold]x[/bold]  :cat:"


def test_without_rows_the_header_stands_alone() -> None:
    assert text_table(("a", "b"), [], indent=0) == "a  b"


@given(st.lists(st.tuples(st.text("ab[]: ", max_size=90), st.integers(0, 10**12)), min_size=1, max_size=5))
def test_every_line_fits_and_has_no_control_characters(rows: list[tuple[str, int]]) -> None:
    lines = text_table(("text", "number"), rows).split("\n")
    assert max(map(len, lines)) <= 80
    assert all(character.isprintable() for line in lines for character in line)
    assert all(any(line.endswith(f" {number:,}") for line in lines) for _, number in rows)


def test_an_empty_cell_does_not_make_a_column_text() -> None:
    rows: list[tuple[object, ...]] = [("match", 1, "1.5 TB", ""), ("total", "", "3.0 TB", "")]
    assert numeric_columns(4, rows) == [False, True, True, False]
    assert (cell(1234), cell(0.5), cell("x")) == ("1,234", "0.5", "x")
