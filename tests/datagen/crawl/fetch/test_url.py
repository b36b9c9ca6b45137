from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.url import MAX_URL_BYTES, WebAddress


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        ("http://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org.:8080?x", "http://example.org:8080/?x"),
        ("http://bücher.example/größe 1.jpg", "http://xn--bcher-kva.example/gr%C3%B6%C3%9Fe%201.jpg"),
        ("http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"),
        ("http://例え.テスト/", "http://xn--r8jz45g.xn--zckzah/"),
        ("http://a.example/%41%zz/./b/../y?/c/../d", "http://a.example/%41%zz/y?/c/../d"),
        ("http://a_b.example/{1}|2", "http://a_b.example/%7B1%7D%7C2"),
        ("http://[2606:4700::1111]:81/", "http://[2606:4700::1111]:81/"),
        (" http://a.example/x\r\nHost: b\n", "http://a.example/xHost:%20b"),
    ],
)
def test_an_address_is_what_goes_over_the_wire(url: str, fetched: str) -> None:
    assert WebAddress.parse(url).url == fetched


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("file:///x", "scheme"),
        ("javascript:x", "scheme"),
        ("//a.example/", "scheme"),
        ("", "scheme"),
        ("http://u@a.example/", "url"),
        ("http://a.example:x/", "url"),
        ("http://a.example:0/", "url"),
        ("http://[::1/", "url"),
        ("http://[fe80::1%25eth0]/", "url"),
        ("http://a\x00b/", "url"),
        ("http://-a-/", "url"),
        ("http://☃☃☃☃.☃/" + "x", "url"),
        ("http://a.example/" + "x" * MAX_URL_BYTES, "url_too_long"),
        ("http://a.example/" + "ü" * 2000, "url_too_long"),
    ],
)
def test_what_is_no_address_of_the_web_is_refused_with_its_reason(url: str, word: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        WebAddress.parse(url)
    assert caught.value.reason == word


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_text_is_either_refused_or_an_ascii_request_without_breaks_that_reads_alike(host: str, path: str) -> None:
    try:
        address = WebAddress.parse(f"http://{host}/{path}")
    except FetchFailed:
        return
    assert address.url.isascii()
    assert not set(address.url) & set(" \r\n\t\0")
    assert WebAddress.parse(address.url) == address


def test_a_redirect_is_joined_and_its_bytes_read_as_utf8() -> None:
    start = WebAddress.parse("http://a.example/b/c.jpg?x")
    assert start.joined("d.jpg") == "http://a.example/b/d.jpg"
    assert start.joined("//e.example/f") == "http://e.example/f"
    assert start.joined("/größe".encode().decode("latin-1")) == "http://a.example/größe"
    with pytest.raises(FetchFailed, match="url"):
        start.joined("http://[x")
