from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources.urls import resolve, resolve_all

PIECES = st.sampled_from(
    ["http:", "https:", "HTTP:", "ftp:", "data:", "//", "/", "a", "b.jpg", "c-d", "x.test", "..", ".", "?", "#", ";",
     ":", "8080", "%20", " ", "é", "\t", "\n", "\x00", "[", "]", "@", "&", "="]
)  # fmt: skip
URLS = st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
BASES = st.one_of(
    st.just(""), URLS, URLS.map("http://h.test".__add__), URLS.map("https://h.test:80/a/b/".__add__)
)  # fmt: skip


def resolved(base: str, url: str) -> str | None:
    """By the array form, between others."""
    bases, urls = ["http://o.test/x/", base, base, ""], ["o", url, "http://o.test", "p"]
    found = resolve_all(pa.array(bases).dictionary_encode(), pa.array(urls))
    assert found.type == pa.string()
    assert [found[0].as_py(), found[3].as_py()] == ["http://o.test/x/o", "p"]
    answer: str | None = found[1].as_py()
    return answer


@settings(max_examples=1000, deadline=None)
@given(BASES, URLS)
def test_many_urls_are_resolved_as_each_is_by_urllib(base: str, url: str) -> None:
    assert resolved(base, url) == resolve(base, url)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("a.jpg", "http://s.test/dir/a.jpg"),
        ("/b.jpg", "http://s.test/b.jpg"),
        ("//c.test/c.jpg", "http://c.test/c.jpg"),
        ("https://d.test/d.jpg#x", "https://d.test/d.jpg"),
        ("../e.jpg", "http://s.test/e.jpg"),
        ("?f=1", "http://s.test/dir/page.html?f=1"),
        (" /g h.jpg\n", "http://s.test/g h.jpg"),
        ("http://[broken/i.jpg", None),
    ],
)
def test_relative_rooted_protocol_relative_and_absolute_urls_are_resolved(url: str, absolute: str | None) -> None:
    base = "http://s.test/dir/page.html?q=1#top"
    assert resolve(base, url) == resolved(base, url) == absolute


def test_no_urls_give_no_urls() -> None:
    assert len(resolve_all(pa.array([], pa.string()).dictionary_encode(), pa.array([], pa.string()))) == 0
