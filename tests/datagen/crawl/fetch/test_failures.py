from __future__ import annotations

import http.client
import socket
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch.failures import FetchFailed, failure_of, reason
from datagen.crawl.fetch.url import WebAddress


@pytest.mark.parametrize(
    ("error", "word", "again"),
    [
        (TimeoutError("timed out"), "timeout", True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns", False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "dns", True),
        (http.client.IncompleteRead(b"x", 5), "incomplete", True),
        (ConnectionRefusedError(111, "Connection refused"), "connection_refused", True),
        (ConnectionResetError(104, "Connection reset by peer"), "connection_reset", True),
        (http.client.RemoteDisconnected("closed"), "connection_reset", True),
        (BrokenPipeError(32, "Broken pipe"), "connection_reset", True),
        (http.client.BadStatusLine("SSH-2.0"), "protocol", False),
        (OSError(101, "Network is unreachable"), "connection", True),
    ],
)
def test_every_error_of_a_fetch_has_its_word_and_says_whether_to_try_again(
    error: Exception, word: str, again: bool
) -> None:
    failure = failure_of(error, 3.0)
    assert failure is not None
    assert (failure.reason, failure.again) == (word, again)
    assert reason(str(failure)) == word


def test_a_mistake_of_ours_is_no_failed_fetch() -> None:
    assert failure_of(TypeError("x"), 3.0) is None


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("image_truncated: image file is truncated", "image_truncated"),
        ("http_404: Not Found", "http_404"),
        ("noai: the header X-Robots-Tag says so", "noai"),
        ("HTTP Error 404: Not Found", "http_404"),
        ("HTTP Error 503: image_truncated", "http_503"),
        ("timed out", "timeout"),
        ("<urlopen error timed out>", "timeout"),
        ("unknown url type: 'x'", "scheme"),
        ("<urlopen error unknown url type: file>", "scheme"),
        ("unknown url type: 'HTTP Error 404 timed out'", "scheme"),
        ("Use of image disallowed by X-Robots-Tag directive", "robots_tag"),
        ("<urlopen error [Errno -2] Name or service not known>", "dns"),
        ("<urlopen error [Errno 111] Connection refused>", "connection_refused"),
        ("[Errno 104] Connection reset by peer", "connection_reset"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "bad_certificate"),
        ("IncompleteRead(10 bytes read, 5 more expected)", "incomplete"),
        ("something new", "other"),
        ("", "other"),
    ],
)
def test_messages_of_ours_and_of_img2datasets_are_counted_under_fixed_words(message: str, word: str) -> None:
    assert reason(message) == word


PARTS = "http: https: // / a.test :80 :x [ ] ::1 v1.x 1.1.1.1 %zz @ ?q #f ü ℀ < > URL: \\ ftp: data: \0".split(" ")
URLS = st.lists(st.sampled_from([*PARTS, " ", "\t", "\n", "timed out", "\ud800", "\u202e"]), max_size=8).map("".join)


@given(URLS)
def test_a_url_that_urllib_refuses_has_a_reason_of_its_own(url: str) -> None:
    said = "scheme: x"
    try:
        urllib.request.Request(url, data=None, headers={"User-Agent": "x"})
    except ValueError as error:
        said = str(error)
    assert reason(said) in ("scheme", "url")


@given(URLS, URLS)
def test_a_url_that_cannot_be_asked_for_has_a_reason_of_its_own(url: str, location: str) -> None:
    said = []
    for base in (url, "http://a.test/b"):
        try:
            WebAddress.parse(WebAddress.parse(base).joined(location))
        except FetchFailed as error:
            said.append(reason(str(error)))
    assert "other" not in said


def test_a_copy_is_not_tried_again() -> None:
    copy = FetchFailed("dns", "x", again=True, host_failed=True).copy()
    assert (str(copy), copy.again, copy.host_failed) == ("dns: x", False, False)


def test_what_a_stranger_wrote_is_printable_and_short_and_its_word_is_ours() -> None:
    failure = FetchFailed("http_500", "\x1b]0;owned\x07\x9b2J\u202egpj.\r\nnoai: x" + "x" * 5000)
    assert str(failure).startswith("http_500: \ufffd]0;owned\ufffd\ufffd2J\ufffdgpj.  noai: x")
    assert len(str(failure)) < 600
    assert reason(str(failure)) == "http_500"
    assert reason("x" * 1000 + ": y") == "other"
