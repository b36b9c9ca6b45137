from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from jinja2 import UndefinedError

from datagen.page import TEMPLATES, environment, render, svg, svg_text


def part(call: str, **values: object) -> str:
    """What one of the macros of parts.html gives."""
    template = '{% from "parts.html" import bars, figure, table, tiles %}{{ ' + call + " }}"
    return environment().from_string(template).render(values)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return part("table(header, rows)", header=header, rows=rows)


def test_text_cannot_become_markup() -> None:
    text = render("page.html", {"title": '<a "b">', "subtitle": "&", "footer": "<f>"}).decode()
    text += table(("<h>",), [("<i>",)])
    text += part("figure(images, lines)", images=[(b"x", '"><em>')], lines=["<u>"])
    text += part("tiles(entries)", entries=[("<s>", "<q>")]) + part("bars(rows)", rows=[("<p>", 2, 1)])
    text += str(svg(1, 1, [svg_text(0, 0, "<t>")]))
    assert "&lt;a &#34;b&#34;&gt;" in text
    assert '<p class="soft">&amp;</p>' in text
    inserted = ("<h>", "<i>", "<b>b", "<em>", "<u>", "<f>", "<s>", "<q>", "<p>", "<t>")
    assert [mark for mark in inserted if mark in text] == []


def test_numbers_and_percentages_stand_to_the_right_with_thousands_separated() -> None:
    text = table(("name", "number", "share"), [("a", 1234, "1%"), ("b", 5, "2%")])
    assert '<td>a</td><td class="n">1,234</td><td class="n">1%</td>' in text


def test_columns_of_numbers_are_set_to_the_right_also_where_one_is_not_known() -> None:
    rows = [("a", "1.5%", "+0.6", "n/a", "1% to 2.5%", "00000.tar"), ("b", "n/a", "−2", "< 0.001", "n/a", "1")]
    cells = re.findall(r"<td( class=\"n\")?>", table(("name", "share", "gain", "p", "interval", "file"), rows))
    assert [bool(cell) for cell in cells[:6]] == [False, True, True, True, True, False]


def test_bars_are_as_wide_as_their_share_of_the_widest() -> None:
    text = part("bars(rows)", rows=[("a", 200, 50), ("b", 100, 100)])
    assert re.findall(r"width:([\d.]+)%", text) == ["100.00", "25.00", "50.00", "50.00"]
    assert part("bars(rows)", rows=[("none", 0, 0)]).count("width:0.00%") == 2


def test_a_value_that_a_template_was_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="subtitle"):
        render("page.html", {"title": "t"})


def test_what_has_no_utf_8_becomes_a_question_mark() -> None:
    values = {"title": "a\ud800b", "subtitle": "", "footer": ""}
    assert "<title>a?b</title>" in render("page.html", values).decode()


def test_the_stylesheet_is_in_every_page_as_it_stands_in_its_file() -> None:
    style = (TEMPLATES / "page.css").read_text()
    assert style in render("page.html", {"title": "", "subtitle": "", "footer": ""}).decode()
