from __future__ import annotations

import re

from datagen.page import figure, image, page, table


def test_text_cannot_become_markup() -> None:
    text = page('<a "b">', "&", [table(("<h>",), [("<i>",)]), figure([image(b"x", '"><b>')], ["<u>"])], "<f>").decode()
    assert "&lt;a &quot;b&quot;&gt;" in text
    assert not any(mark in text for mark in ("<h>", "<i>", "<b>", "<u>", "<f>"))


def test_numbers_and_percentages_stand_to_the_right_with_thousands_separated() -> None:
    text = table(("name", "number", "share"), [("a", 1234, "1%"), ("b", 5, "2%")])
    assert '<td>a</td><td class="n">1,234</td><td class="n">1%</td>' in text


def test_columns_of_numbers_are_set_to_the_right_also_where_one_is_not_known() -> None:
    rows = [("a", "1.5%", "+0.6", "n/a", "1% to 2.5%", "00000.tar"), ("b", "n/a", "−2", "< 0.001", "n/a", "1")]
    cells = re.findall(r"<td( class=\"n\")?>", table(("name", "share", "gain", "p", "interval", "file"), rows))
    assert [bool(cell) for cell in cells[:6]] == [False, True, True, True, True, False]
