from __future__ import annotations

import html
from html.entities import html5

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.sources.entities import resolve_all_entities, resolve_entities

TEXT = st.text(alphabet="a &;#x0193=nbsptgcoy\u00e9", max_size=20)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("AT&amp;T &eacute;lan&ndash;&#233;&#xE9;&#xe9", "AT&T élan–ééé"),
        ("tea&notebook", "tea&notebook"),
        ("food&region of france", "food&region of france"),
        ("rock&copyright law", "rock&copyright law"),
        ("a&copy=1&reg=2", "a&copy=1&reg=2"),
        ("&copy;=1 &copy 2 &reg, &amp", "©=1 © 2 ®, &"),
        ("&notin; &notit; &not it; &notin", "∉ &notit; ¬ it; &notin"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&Eacutea &AMP;&AMP &ampé", "&Eacutea && &é"),
        ("&#128;&#x110000;&#xD800;&#0;", "€\ufffd\ufffd\ufffd"),
        ("&#;&#x;&;&& &nosuch; &NotEqualTilde;", "&#;&#x;&;&& &nosuch; ≂̸"),
        ("&#38;amp;", "&amp;"),
    ],
)
def test_references_in_an_attribute_mean_what_browsers_read(written: str, read: str) -> None:
    assert resolve_entities(written) == read


@pytest.mark.parametrize("name", [name for name in html5 if not name.endswith(";")])
def test_an_old_name_counts_without_semicolon_only_at_the_end_of_a_word(name: str) -> None:
    for behind in ("", " ", "-", "&", "é", '"'):
        assert resolve_entities(f"&{name}{behind}") == html5[name] + behind
    for behind in ("x", "Z", "7", "=", "=x"):
        text = f"&{name}{behind}"
        if name + behind not in html5:
            assert resolve_entities(text) == text


@given(TEXT)
def test_with_semicolons_it_is_what_python_reads(text: str) -> None:
    closed = "".join(f"&{part.partition(';')[0]};" if number else part for number, part in enumerate(text.split("&")))
    known = all(f"{part.partition(';')[0]};" in html5 or part[:1] == "#" for part in closed.split("&")[1:])
    if known:
        assert resolve_entities(closed) == html.unescape(closed)


@given(st.lists(TEXT | st.none(), max_size=5))
def test_an_array_is_read_as_each_of_its_texts(texts: list[str | None]) -> None:
    found = resolve_all_entities(pa.array(texts, pa.string())).to_pylist()
    assert found == [text if text is None else resolve_entities(text) for text in texts]
