from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.fetch.limits import Deadline
from datagen.crawl.fetch.response import MAX_HEAD_BYTES, Head, Response
from helpers.patience import patience
from helpers.raw_web import IMAGE, chunked, head

OK = b"HTTP/1.1 200 OK\r\n"


OPEN: list[socket.socket] = []  # as a server keeps them


def respond(*pieces: bytes | float, close: bool = True, deadline_s: float = 60.0) -> Response:
    """The response on a socket on which the pieces come, with pauses between them."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with contextlib.suppress(OSError):
            for piece in pieces:
                if isinstance(piece, bytes):
                    theirs.sendall(piece)
                else:
                    time.sleep(piece)
        if close:
            theirs.close()

    OPEN.append(theirs)
    threading.Thread(target=send, daemon=True).start()
    return Response(ours, Deadline(deadline_s))


def why(*pieces: bytes | float, close: bool = True, deadline_s: float = 60.0, limit: int = 10_000) -> str:
    with pytest.raises(FetchFailed) as caught:
        respond(*pieces, close=close, deadline_s=deadline_s).read(limit)
    return caught.value.reason


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints", "199 What", "103"])
@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_interim_responses_are_read_past(status: str, pause_s: float) -> None:
    interim = head("Link: </s.css>; rel=preload", "Content-Length: 5", status=status)
    response = respond(interim, pause_s, interim, pause_s, OK + b"Content-Length: 5\r\n\r\nhello", close=False)
    assert (response.status, response.read(10), response.is_read(), response.may_keep) == (200, b"hello", True, True)


def test_interim_responses_have_an_end_and_no_protocol_is_switched() -> None:
    assert why(head(status="103 Early Hints") * 4_000) == "protocol"
    assert why(head("Upgrade: h2c", status="101 Switching Protocols"), close=False) == "protocol"


MALFORMED = [
    b"HTTP/1.1 200 OK", b"<br />", b"Warning", b"-----", b"X Cache: HIT", b"N\xe4me: x", b"N\xc3\xa4me: x", b": empty",
    b"a=b; c", b"\xff\xfe", b"{json: 1}", b"(comment): x", b"PHP Warning:  session_start() in /x.php on line 3",
]  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_that_is_no_header_is_read_past_and_none_behind_it_is_lost(line: bytes, end: bytes) -> None:
    lines = [
        b"HTTP/1.1 200 OK",
        line,
        b"X-Robots-Tag: noai",
        line,
        b"tdm-reservation: 1",
        b"Content-Length: 5",
        b"",
        b"hello",
    ]
    response = respond(end.join(lines), close=False)
    assert response.headers["X-Robots-Tag"] == "noai"
    assert response.headers["tdm-reservation"] == "1"
    assert response.read(10) == b"hello"
    assert response.is_read()
    assert not response.may_keep


@pytest.mark.parametrize(
    "line",
    [
        b"X-Robots-Tag noai", b"X-Robots-Tag; noai", b"<br />X-Robots-Tag: noai", b"X Robots-Tag: noai", b"noai",
        b"tdm-reservation 1", b"tdm-reservation = 1", b"tdm reservation: 1", b"tdm_reservation(1): 1", b": noimageai",
        b"X-Robots\xe2\x80\x91Tag: noai", b" X-Robots-Tag: noai", b"\tX-Robots-Tag: noai",
        b"Server: x\r\n X-Robots-Tag: noai", b"Server: x\r\n\tnoai", b"Server: x\r\n tdm-reservation: 1",
        b"X-Robots-\r\n Tag: noai", b"X-Robots-Tag\r\n : noai",
        b"X-Robots-Tag\0: noai", b"X-Robots-Tag: no\0ai", b"Content-Length 5", b" Content-Length: 5",
        b"Transfer-Encoding chunked", b"<p>noindex, noml</p>",
    ],
)  # fmt: skip
def test_a_line_that_is_read_past_but_may_reserve_or_measure_refuses_the_response(line: bytes) -> None:
    assert why(OK + line + b"\r\nConnection: close\r\n\r\nhello") == "protocol"
    assert why(OK + b"A: b\r\n<br>\r\n" + line + b"\r\nContent-Length: 5\r\n\r\nhello", close=False) == "protocol"


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"X-Robots-Tag: noai", "noai"),
        (b"x-robots-TAG:noai", "noai"),
        (b"X-Robots-Tag : noai", "noai"),
        (b"X-Robots-Tag\t:\tnoai\t ", "noai"),
        (b"X-Robots-Tag:\r\n noai", ", noai"),
        (b"X-Robots-Tag: index\r\n\tnoai", "index, noai"),
        (b"A: b\rX-Robots-Tag: noai", "noai"),
        (b"A: b\r\rX-Robots-Tag: noai", "noai"),
        (b"X-Robots-Tag: no\x01ai\x7f", "noai"),
        (b"A:\r\nX-Robots-Tag: noai", "noai"),
    ],
)
def test_headers_are_read_as_browsers_read_them(lines: bytes, value: str) -> None:
    assert Head(OK + lines + b"\r\n\r\n").headers["X-Robots-Tag"] == value


def test_a_name_that_a_value_mentions_reserves_nothing() -> None:
    made = Head(OK + b"Vary: tdm-reservation\r\nAccess-Control-Expose-Headers: X-Robots-Tag\r\n\r\n")
    assert made.is_clean
    assert made.headers["X-Robots-Tag"] is None


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"HTTP/1.1 200 OK", 200),
        (b"HTTP/1.1 200", 200),
        (b"HTTP/1.1  404  Not Found", 404),
        (b"http/1.1 200 ok", 200),
        (b"HTTP/1.0 200 OK", 200),
        (b"HTTP/2 200 OK", 200),
        (b"HTTP/1.1 999 Denied", 999),
        (b"HTTP/1.1 200OK", 200),
    ],
)
def test_status_lines_are_read_as_browsers_read_them(first: bytes, status: int) -> None:
    response = respond(b"\r\n\r\n" + first + b"\r\nContent-Length: 0\r\n\r\n", close=False)
    assert response.status == status
    assert response.may_keep == first.upper().startswith(b"HTTP/1.1")


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n", b"220 smtp.example ESMTP\r\n", b"<html>", b"\xff\xd8\xff", b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 000 x\r\n\r\n",
        b"HTTP/\r\n\r\n",
        OK + b"A: b\0\r\n\r\n", OK + b"A: b\r\n \r\n\xff\xd8\xff\xe0\0",
        OK.strip() + b"\r\rContent-Length: 5\r\rhello", OK + b"A: " + b"x" * MAX_HEAD_BYTES,
        OK + b"A: b\r\n" * 200 + b"\r\n", OK + b"\r\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused_at_once(text: bytes) -> None:
    started = time.monotonic()
    assert why(text, close=False) == "protocol"
    assert time.monotonic() - started < patience(2)


@pytest.mark.parametrize("text", [OK, OK + b"Content-Length: 5", OK + b"Content-Length: 5\r\n", b"HTT", b"\r\n"])
def test_headers_that_end_with_the_connection_are_incomplete(text: bytes) -> None:
    assert why(text) == "incomplete"


def test_a_response_that_comes_byte_by_byte_is_the_same() -> None:
    made = b"\r\n" + head(status="103 Hints") + chunked(b"he", b"llo", end=b"0\r\nX-T: 1\r\n\r\n")
    response = respond(*(made[place : place + 1] for place in range(len(made))), close=False)
    assert response.read(10) == b"hello"
    assert response.headers["X-T"] == "1"
    assert response.may_keep


@given(st.binary(max_size=300), st.sampled_from([b"", OK, OK + b"Content-Length: 3\r\n", chunked(b"a", end=b"")]))
def test_whatever_comes_is_a_response_or_has_a_reason(text: bytes, start: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(start + text)
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(FetchFailed, ConnectionResetError):
            assert len(Response(ours, Deadline(5)).read(100)) <= 100


LENGTHS = [
    ("Content-Length: 5", b"hello"),
    ("Content-Length: 5, 5", b"hello"),
    ("Content-Length: 5\r\nContent-Length: 5", b"hello"),
    ("Content-Length:5,5 ,5", b"hello"),
    ("Content-Length: 5\r\nTransfer-Encoding: identity", b"hello"),
]


@pytest.mark.parametrize(("lines", "body"), LENGTHS)
def test_a_length_that_is_said_again_is_the_length(lines: str, body: bytes) -> None:
    response = respond(head(lines) + b"hello", close=False)
    assert (response.length(), response.read(10), response.is_read(), response.may_keep) == (5, body, True, True)


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5, 6", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: -5", "Content-Length: +5",
        "Content-Length: 0x5", "Content-Length: 5.0", "Content-Length: five", "Content-Length: 5;",
        "Content-Length: 5 5",
        "Content-Length: " + "9" * 30, "Transfer-Encoding: gzip", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "<br />",
    ],
)  # fmt: skip
def test_a_body_whose_end_nothing_says_is_refused_without_waiting(lines: str) -> None:
    started = time.monotonic()
    assert why(head(lines) + b"hello", close=False) == "protocol"
    assert time.monotonic() - started < patience(2)


@pytest.mark.parametrize("lines", ["Content-Length: five", "Content-Length: -5", "A: b", "<br />"])
def test_a_body_that_ends_with_its_connection_needs_no_length(lines: str) -> None:
    response = respond(head(lines, "Connection: close") + b"hello")
    assert response.read(10) == b"hello"
    assert not response.may_keep


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_has_none_and_its_connection_ends(status: str) -> None:
    response = respond(head("Content-Length: 5", status=status), close=False)
    assert response.read(10) == b""
    assert not response.may_keep


@pytest.mark.parametrize(
    "size", [b"5", b"05", b"0" * 40 + b"5", b"5 ", b" 5", b"5\t", b"5;a=b", b'5 ; a="b;c"', b"5;", b"5\r"]
)
def test_chunk_sizes_are_read_as_browsers_read_them(size: bytes) -> None:
    response = respond(chunked(end=size + b"\r\nhello\r\n0\r\n\r\n"), close=False)
    assert (response.length(), response.read(10), response.is_read(), response.may_keep) == (None, b"hello", True, True)


@pytest.mark.parametrize(
    "size",
    [
        b"-1",
        b"-5",
        b"+5",
        b"0x5",
        b"5h",
        b"5 5",
        b"",
        b" ",
        b"1" * 17,
        b"g",
        b"5,",
        b"\xb25",
        b"5_0",
        b"5" * 5000,
        b";5",
    ],
)
def test_a_chunk_size_that_is_none_ends_the_body_at_once(size: bytes) -> None:
    for body in (b"hello", bytes(100_000)):
        assert why(chunked(end=size + b"\r\n" + body), close=False) == "incomplete"
        response = respond(chunked(b"he", end=size + b"\r\n" + body), close=False)
        response.skip()
        assert not response.may_keep


def test_chunks_need_their_line_breaks_and_their_end() -> None:
    assert why(chunked(end=b"5\r\nhello0\r\n\r\n"), close=False) == "incomplete"
    assert why(chunked(end=b"3\r\nhello\r\n0\r\n\r\n"), close=False) == "incomplete"
    assert why(chunked(b"hello", end=b"")) == "incomplete"
    assert why(chunked(end=b"f\r\nhello")) == "incomplete"
    assert respond(chunked(end=b"5\nhello\n0\n\n"), close=False).read(10) == b"hello"


@pytest.mark.parametrize("end", [b"0\r\n", b"0\r\nX-Robots-Tag: n", b"0\r\nX: y\r\n"])
@pytest.mark.parametrize("close", [True, False])
def test_a_body_is_whole_without_the_end_of_what_stands_behind_it(end: bytes, close: bool) -> None:
    started = time.monotonic()
    response = respond(chunked(b"hello", end=end), close=close)
    assert response.read(10) == b"hello"
    assert not response.may_keep
    assert time.monotonic() - started < patience(2)


def test_trailers_are_headers_and_bounded() -> None:
    response = respond(chunked(b"hello", end=b"0\r\nX-Robots-Tag: noai\r\nA: b\r\n\r\n"), close=False)
    response.read(10)
    assert response.headers.get_all("X-Robots-Tag") == ["noai"]
    assert why(chunked(b"hello", end=b"0\r\n" + b"A: b\r\n" * 100_000)) == "protocol"


def test_more_framing_than_body_is_refused() -> None:
    assert why(chunked(end=b"1\r\nx\r\n" * 50_000), limit=100_000) == "protocol"
    assert why(chunked(end=(b"1;" + b"x" * 4_000 + b"\r\nx\r\n") * 50), limit=100_000) == "protocol"
    assert len(respond(chunked(end=b"1\r\nx\r\n" * 2_000 + b"0\r\n\r\n")).read(100_000)) == 2_000


@pytest.mark.parametrize("size", [b"7fffffffffffffff", b"ffffffff"])
def test_a_huge_chunk_is_cut_at_the_limit(size: bytes) -> None:
    assert why(chunked(end=size + b"\r\n" + bytes(20_000))) == "too_large"


def test_what_nobody_wants_is_read_for_a_moment_only() -> None:
    for text in (
        head("A: b"),
        head("Content-Length: 5"),
        head("Content-Length: 99999999"),
        chunked(b"he", end=b"5\r\n"),
    ):
        started = time.monotonic()
        response = respond(text, close=False)
        response.skip()
        assert time.monotonic() - started < patience(2)
        assert not (response.is_read() and response.may_keep)


def test_bytes_behind_a_response_are_seen() -> None:
    for text in (
        head("Content-Length: 5") + b"hello",
        chunked(b"hello"),
        head("Content-Length: 0"),
        head(status="204 x"),
    ):
        for more in (b"", b"x", b"\r\n", OK):
            response = respond(text + more)
            response.read(10)
            assert response.surplus() == bool(more)


@pytest.mark.parametrize(
    "words", ["none", "binary", "UTF-8", "aws-chunked", "identity", "", "8bit", "none, utf-8", "image/jpeg"]
)
def test_words_that_are_no_content_codings_are_passed_over(words: str) -> None:
    made = head(f"Content-Encoding: {words}", f"Content-Length: {len(IMAGE)}") + IMAGE
    assert respond(made).read(10_000) == IMAGE
