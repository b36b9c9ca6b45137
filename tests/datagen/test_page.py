from __future__ import annotations

from datagen.page import figure, image, page, table


def test_text_cannot_become_markup() -> None:
    text = page('<a "b">', "&", [table(("<h>",), [("<i>",)]), figure([image(b"x", '"><b>')], ["<u>"])], "<f>").decode()
    assert "&lt;a &quot;b&quot;&gt;" in text
    assert not any(mark in text for mark in ("<h>", "<i>", "<b>", "<u>", "<f>"))


def test_numbers_and_percentages_stand_to_the_right_with_thousands_separated() -> None:
    text = table(("name", "number", "share"), [("a", 1234, "1%"), ("b", 5, "2%")])
    assert '<td>a</td><td class="n">1,234</td><td class="n">1%</td>' in text
