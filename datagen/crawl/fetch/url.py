"""A URL as it is fetched: scheme, host in ASCII, port, and a request target that is percent-encoded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from urllib.parse import quote

from datagen.crawl.fetch.failures import FetchFailed
from openwit import urls
from openwit.urls import PORTS

MAX_URL_BYTES = 8192  # what servers commonly take
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
            parts = urls.parse(url)
        except urls.OtherScheme as error:
            raise FetchFailed("scheme", str(error)) from None
        except ValueError as error:
            raise FetchFailed("url", str(error)) from None
        if "@" in parts.authority:
            raise FetchFailed("url", "it carries a user name")
        if parts.port == 0:
            raise FetchFailed("url", "port 0")
        target = _encoded(parts.path + parts.query)
        if len(target) > MAX_URL_BYTES:
            raise FetchFailed("url_too_long", f"longer than {MAX_URL_BYTES} bytes")
        return cls(parts.scheme, parts.host, parts.port, target)

    def joined(self, location: str) -> str:
        """The URL of a redirect from here; header values arrive as Latin-1."""
        with contextlib.suppress(UnicodeError):  # else it is Latin-1 indeed
            location = location.encode("latin-1").decode("utf-8")
        joined = urls.resolve(self.url, location)
        if joined is None:
            raise FetchFailed("url", "a redirect to no URL")
        return joined

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


def _encoded(text: str) -> str:
    """In ASCII; a lone surrogate as browsers send it."""
    try:
        return quote(text, safe=_KEPT)
    except UnicodeEncodeError:
        return quote(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), safe=_KEPT)
