"""A URL taken apart as it is fetched: scheme, host in ASCII, port, and a request target that is percent-encoded."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from datagen.crawl.fetch.failures import FetchFailed
from openwit.hosts import ascii_host

MAX_URL_BYTES = 8192  # what servers commonly take
PORTS = {"http": 80, "https": 443}
_DOTS = re.compile(r"/\.\.?(/|$)")
_KEPT = "%/:=&?~+!$,;'@()*[]"  # characters that stay as they are; quote() keeps letters, digits and _.-~


@dataclass(frozen=True)
class WebAddress:
    """What is asked of which server."""

    scheme: str
    host: str  # lower case; IPv6 without brackets
    port: int
    target: str  # path and query

    @classmethod
    def parse(cls, url: str) -> WebAddress:
        """The address that a URL means. Raises FetchFailed: scheme, url_too_long, url."""
        if len(url) > MAX_URL_BYTES:
            raise FetchFailed("url_too_long", f"longer than {MAX_URL_BYTES} bytes")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise FetchFailed("url", str(error)) from None
        if parts.scheme not in PORTS:
            raise FetchFailed("scheme", f"{parts.scheme[:20] or 'no scheme'}: only http and https are fetched")
        if "@" in parts.netloc:
            raise FetchFailed("url", "it carries a user name")
        if port == 0:
            raise FetchFailed("url", "port 0")
        target = _path(parts.path) + (f"?{_encoded(parts.query)}" if parts.query else "")
        if len(target) > MAX_URL_BYTES:
            raise FetchFailed("url_too_long", f"longer than {MAX_URL_BYTES} bytes")
        return cls(parts.scheme, _ascii_host(parts.hostname or ""), port or PORTS[parts.scheme], target)

    def joined(self, location: str) -> str:
        """The URL of a redirect from here; header values arrive as Latin-1."""
        with contextlib.suppress(UnicodeError):  # else it is Latin-1 indeed
            location = location.encode("latin-1").decode("utf-8")
        try:
            return urljoin(self.url, location)
        except ValueError as error:
            raise FetchFailed("url", str(error)) from None

    @property
    def netloc(self) -> str:
        """Host, in brackets where it is IPv6, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a robots.txt speaks for."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def url(self) -> str:
        """The whole address, without fragment."""
        return self.origin + self.target


def _ascii_host(host: str) -> str:
    try:
        return ascii_host(host)
    except ValueError as error:
        raise FetchFailed("url", str(error)) from None


def _path(path: str) -> str:
    """Percent-encoded and without . and .. where it holds any, so that robots.txt is asked about what is fetched."""
    path = _encoded(path or "/")
    if _DOTS.search(path) and not path.startswith("//"):
        path = urljoin("http://host/", path).removeprefix("http://host")
    return path


def _encoded(text: str) -> str:
    return quote(text, safe=_KEPT, errors="replace")
