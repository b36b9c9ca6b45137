"""Why a fetch came to no image: the exception, and the fixed words under which failures are counted.

A message reads "word: text". Messages hold no times and no counters: a server that answers alike is reported alike.
Messages of img2dataset's own (in shards that it wrote without us) are recognised by their text.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl

from openwit.errors import printable

_MAX_TEXT_CHARS = 500


class FetchFailed(Exception):
    """A fetch that came to no image; `str()` gives "reason: text", printable, which the shard's table keeps."""

    def __init__(
        self,
        reason: str,
        text: str,
        *,
        again: bool = False,
        host_failed: bool = False,
        is_busy: bool = False,
        wait_s: float | None = None,
    ) -> None:
        text = printable(text[:_MAX_TEXT_CHARS])
        super().__init__(f"{reason}: {text}")
        self.reason, self.text = reason, text
        self.again = again  # another try may help
        self.host_failed = host_failed  # it counts against the host, which is given up after several in a row
        self.is_busy = is_busy  # the server has too much to do: the whole host is to rest
        self.wait_s = wait_s  # what the server asks us to wait, in seconds

    def copy(self) -> FetchFailed:
        """The same for another fetch, which is not tried again: whoever failed first has done that."""
        return FetchFailed(self.reason, self.text)


def failure_of(error: Exception, deadline_s: float, *, connecting: bool = False) -> FetchFailed | None:
    """The failed fetch that a library's exception means; None where it means none (a mistake of ours)."""
    if isinstance(error, FetchFailed):
        return error
    if isinstance(error, TimeoutError):
        return FetchFailed("timeout", f"not done within {deadline_s:g} s", again=True, host_failed=connecting)
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchFailed("bad_certificate", error.verify_message, host_failed=connecting)
    if isinstance(error, ssl.SSLError):
        return FetchFailed("tls", error.reason or "the handshake failed", host_failed=connecting)
    if isinstance(error, socket.gaierror):
        for_now = error.errno == socket.EAI_AGAIN
        return FetchFailed("dns", error.strerror or "no address", again=for_now, host_failed=True)
    if isinstance(error, http.client.IncompleteRead):
        return FetchFailed("incomplete", "the body ends before its declared length", again=True)
    if isinstance(error, ConnectionRefusedError):
        return FetchFailed("connection_refused", "nobody listens there", again=True, host_failed=True)
    if isinstance(error, ConnectionError):  # RemoteDisconnected is one too
        return FetchFailed("connection_reset", "the server hung up", again=True, host_failed=connecting)
    if isinstance(error, http.client.HTTPException):
        return FetchFailed("protocol", f"the answer is not HTTP ({type(error).__name__})")
    if isinstance(error, OSError):
        return FetchFailed("connection", error.strerror or str(error), again=True, host_failed=connecting)
    return None


_WORD = re.compile(r"([a-z][a-z0-9_]{0,39}): ")
_IMG2DATASET = (  # first what urllib says of a URL that it refuses, and quotes
    (re.compile(r"unknown url type"), "scheme"),
    (re.compile(r"Invalid IPv6|IPvFuture|in brackets|appear to be an IPv|under NFKC|nonnumeric port|^Port "), "url"),
    (re.compile(r"infinite loop", re.IGNORECASE), "redirect_limit"),
    (re.compile(r"HTTP Error (\d{3})"), "http_{}"),
    (re.compile(r"X-Robots-Tag"), "robots_tag"),
    (re.compile(r"timed out", re.IGNORECASE), "timeout"),
    (re.compile(r"Name or service not known|name resolution|getaddrinfo|nodename", re.IGNORECASE), "dns"),
    (re.compile(r"certificate verify", re.IGNORECASE), "bad_certificate"),
    (re.compile(r"SSL|TLS", re.IGNORECASE), "tls"),
    (re.compile(r"IncompleteRead"), "incomplete"),
    (re.compile(r"refused", re.IGNORECASE), "connection_refused"),
    (re.compile(r"reset|closed connection|broken pipe", re.IGNORECASE), "connection_reset"),
    (re.compile(r"unreachable|no route", re.IGNORECASE), "connection"),
)


def reason(error_message: str) -> str:
    """The word under which a failed fetch is counted, e.g. http_404, timeout, image_truncated; else "other"."""
    if match := _WORD.match(error_message):
        return match[1]
    for pattern, word in _IMG2DATASET:
        if match := pattern.search(error_message):
            return word.format(*match.groups())
    return "other"
