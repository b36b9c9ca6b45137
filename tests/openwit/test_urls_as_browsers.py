"""URLs as the URL Standard reads them: cases of the kinds that web-platform-tests has, in a table of our own.

What differs on purpose, and why:
- characters are percent-encoded where a URL is fetched (datagen/crawl/fetch/url.py), and a few more than browsers
  encode (| { } ^ and backslashes in a query): servers read them alike
- a fragment is left out: it is not sent
- a host's closing dot is left out, and user names are refused when fetching
- hosts of characters that no name in DNS has (☃, a hyphen at the ends) are refused
- other schemes than http and https are not parsed: they are no images to fetch
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch.url import WebAddress
from openwit.urls import OtherScheme, host_of, parse, resolve

BASE = "http://example.org/foo/bar"
CASES = [  # URL, what it means in BASE
    ("http://example\t.\norg", "http://example.org/"),
    ("http:foo.com", "http://example.org/foo/foo.com"),
    ("\t   :foo.com   \n", "http://example.org/foo/:foo.com"),
    (" foo.com  ", "http://example.org/foo/foo.com"),
    ("http://f:/c", "http://f/c"),
    ("http://f:00000000000000000000080/c", "http://f/c"),
    ("http://f:\n/c", "http://f/c"),
    ("http://f:65535/c", "http://f:65535/c"),
    ("", "http://example.org/foo/bar"),
    ("  \t", "http://example.org/foo/bar"),
    (":foo.com\\", "http://example.org/foo/:foo.com/"),
    (":a", "http://example.org/foo/:a"),
    (":\\", "http://example.org/foo/:/"),
    ("#", "http://example.org/foo/bar"),
    ("#\\", "http://example.org/foo/bar"),
    ("?", "http://example.org/foo/bar?"),
    ("?a?b", "http://example.org/foo/bar?a?b"),
    ("/", "http://example.org/"),
    ("\\x", "http://example.org/x"),
    ("\\\\x\\hello", "http://x/hello"),
    ("//x/hello", "http://x/hello"),
    ("///x/hello", "http://x/hello"),
    ("/\\/x\\hello", "http://x/hello"),
    ("http::@c:29", "http://example.org/foo/:@c:29"),
    ("http://foo.com/\\@", "http://foo.com//@"),
    ("http:\\\\foo.com\\", "http://foo.com/"),
    ("http:\\\\a\\b:c\\d@foo.com\\", "http://a/b:c/d@foo.com/"),
    ("http:/example.com/", "http://example.org/example.com/"),
    ("https:/example.com/", "https://example.com/"),
    ("https:example.com/", "https://example.com/"),
    ("https:\\example.com/", "https://example.com/"),
    ("HTTPS:////example.com///a", "https://example.com///a"),
    ("http:///////bar.com/", "http://bar.com/"),
    ("http://foo.com?q\\x", "http://foo.com/?q%5Cx"),
    ("http://example.com/foo%2E", "http://example.com/foo%2E"),
    ("http://example.com/foo/./", "http://example.com/foo/"),
    ("http://example.com/foo/bar/..", "http://example.com/foo/"),
    ("http://example.com/foo/bar/../ton/../../a", "http://example.com/a"),
    ("http://example.com/../../..", "http://example.com/"),
    ("http://example.com/foo/%2e", "http://example.com/foo/"),
    ("http://example.com/foo/%2e%2", "http://example.com/foo/%2e%2"),
    ("http://example.com/foo/%2e./%2e%2e/.%2e/%2e.bar", "http://example.com/%2e.bar"),
    ("http://example.com////../..", "http://example.com//"),
    ("http://example.com/foo/bar//../..", "http://example.com/foo/"),
    ("http://example.com/foo/bar//..", "http://example.com/foo/bar/"),
    ("http://example.com/a/...", "http://example.com/a/..."),
    ("./x/../y;", "http://example.org/foo/y;"),
    ("x;y/;", "http://example.org/foo/x;y/;"),
    ("a//b", "http://example.org/foo/a//b"),
    ("..", "http://example.org/"),
    (".", "http://example.org/foo/"),
    ("%2e%2E/i.jpg", "http://example.org/i.jpg"),
    ("../../../i.jpg", "http://example.org/i.jpg"),
    ("..\\i.jpg", "http://example.org/i.jpg"),
    ("i.jpg?x=../y", "http://example.org/foo/i.jpg?x=../y"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://0X7F.0.0.1./", "http://127.0.0.1/"),
    ("http://192.168.257", "http://192.168.1.1/"),
    ("http://0300.168.0xF0", "http://192.168.0.240/"),
    ("http://256/", "http://0.0.1.0/"),
    ("http://4294967295/", "http://255.255.255.255/"),
    ("http://0x/", "http://0.0.0.0/"),
    ("http://%30%78%63%30.0250.01", "http://192.168.0.1/"),
    ("http://\uff10\uff38\uff43\uff10.0250.01", "http://192.168.0.1/"),
    ("http://a.b.c.xn--pokxncvks", "http://a.b.c.xn--pokxncvks/"),
    ("http://foo.0x4a.bar", "http://foo.0x4a.bar/"),
    ("http://[::1]/", "http://[::1]/"),
    ("http://[1:0::]", "http://[1::]/"),
    ("http://[0:0:0:0:0:0:13.1.68.3]", "http://[::d01:4403]/"),
    ("http://GO\u200b.com", "http://go.com/"),
    ("http://www.foo\u3002bar.com", "http://www.foo.bar.com/"),
    ("http://fa\u00df.ExAmPlE/", "http://xn--fa-hia.example/"),
    ("http://ho%73t/x", "http://host/x"),
    ("caf\u00e9 1.jpg", "http://example.org/foo/caf%C3%A9%201.jpg"),
    ("http://a.test/x #y", "http://a.test/x%20"),
    ("\x00\x1b\x04http://a.test/x\x1f ", "http://a.test/x"),
    ("http://a.test/\x01", "http://a.test/"),
    ("http://a.test/\x01x", "http://a.test/%01x"),
    ("h\nt\ttp://a.test/", "http://a.test/"),
]
REFUSED = [
    "http://f:b/c", "http://f: /c", "http://f:999999/c", "http://f:65536/c", "http://f: 21 / b ? d", "http://",
    "http:///", "http://:80/", "http://user@/x", "https:", "http://[1::2]:3:4", "http://[www.google.com]/", "http://[::1",
    "http://[:::1]/", "http://[::1%eth0]/", "http://]/", "http://a b/", "http://a%00b/", "http://a<b/", "http://a%2fb/",
    "http://1.2.3.4.5/", "http://foo.09", "http://foo.0x4", "http://foo.2.3", "http://256.256.256.256/", "http://09.1.2.3",
    "http://4294967296/", "http://0x100000000/", "http://1.2.3.08", "http://a.999999999999999999999999/", "http://%/",
    "http://\ufdd0/", "http://1e2.0x1g.5/",
]  # fmt: skip


@pytest.mark.parametrize(("url", "meant"), CASES)
def test_a_url_means_what_it_means_to_browsers(url: str, meant: str) -> None:
    resolved = resolve(BASE, url)
    assert resolved is not None
    assert WebAddress.parse(resolved).url == meant


@pytest.mark.parametrize("url", REFUSED)
def test_what_browsers_refuse_is_none(url: str) -> None:
    assert resolve(BASE, url) is None
    with pytest.raises(ValueError, match=r"."):
        parse(url)


@pytest.mark.parametrize("url", ["data:,x\\y", "javascript:void(0)", "a:\t foo.com", "about:blank", "ftp:/x/../y"])
def test_a_url_of_another_scheme_is_only_tidied(url: str) -> None:
    assert resolve(BASE, f" {url}#x") == url.replace("\t", "")
    with pytest.raises(OtherScheme):
        parse(url)


@pytest.mark.parametrize("base", ["about:blank", "data:,x", "mailto:x", "http://", "ftp://a/b"])
def test_a_base_that_is_none_of_the_web_resolves_absolute_urls_alone(base: str) -> None:
    assert resolve(base, "x.jpg") is None
    assert resolve(base, "//a.test/x.jpg") is None
    assert resolve(base, "http://a.test/x.jpg") == "http://a.test/x.jpg"


def test_without_a_base_what_is_relative_stays() -> None:
    assert resolve("", "a.test/x.jpg#y") == "a.test/x.jpg"
    assert resolve("", "http:/a.test\\x.jpg") == "http://a.test/x.jpg"


def test_the_host_is_that_which_is_asked_wherever_backslashes_and_users_stand() -> None:
    assert host_of("http://a.test\\@b.test/") == host_of("http://b.test@a.test/") == "a.test"
    assert host_of("http:\\\\0x7f.1\\x") == "127.0.0.1"


PIECES = [
    "http:",
    "https:",
    "/",
    "\\",
    "a.test",
    "?",
    "#",
    "..",
    ".",
    "%2e",
    ";",
    " ",
    "\t",
    "@",
    ":",
    "80",
    "é",
    "[",
    "x",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)
def test_what_is_resolved_reads_as_itself_again(base: str, url: str) -> None:
    found = resolve(f"http://h.test/{base}", url)
    if found is not None:
        assert resolve("", found) == resolve("http://o.test/", found) == found
        assert "\\" not in found.partition("?")[0] or not found.startswith("http")
