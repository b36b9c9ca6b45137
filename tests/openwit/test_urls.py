from __future__ import annotations

import pytest

from openwit.urls import ascii_host, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.ORG/a.jpg", "example.org"),
        ("https://user:word@example.org:8080/?x", "example.org"),
        ("ftp://example.org./a", "example.org"),
        ("http://b%C3%BCcher.example/", "xn--bcher-kva.example"),
        ("http://例え.テスト/", "xn--r8jz45g.xn--zckzah"),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111"),
        ("http://a_b.example/", "a_b.example"),
    ],
)
def test_the_host_is_the_one_asked_on_the_wire(url: str, host: str) -> None:
    assert host_of(url) == host
    assert ascii_host(host) == host


@pytest.mark.parametrize(
    "url", ["", "example.org", "http:///", "http://[::1", "http://[fe80::1%25eth0]/", "http://-a-/"]
)
def test_a_url_without_a_host_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|IPv6"):
        host_of(url)
