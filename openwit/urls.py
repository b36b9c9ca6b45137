"""URLs of the web, read and resolved as browsers do (https://url.spec.whatwg.org), and the hosts that they name.

Characters stay as they are written: what is asked of a server is percent-encoded where it is fetched, and a host is
given in ASCII beside its written form. Fragments are left out.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import idna

PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_IPV6 = re.compile(r"[0-9a-f:.]+")
_NUMBER = re.compile(r"(?:0x(?P<hex>[0-9a-f]*)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*))")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_OUTSIDE = "".join(map(chr, range(0x21)))  # stripped at both ends
_BREAKS = str.maketrans("", "", "\t\n\r")  # left out everywhere
_AUTHORITY = re.compile(r"[^/\\?]*")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]*))?")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_HERE, _UP = {".", "%2e"}, {"..", ".%2e", "%2e.", "%2e%2e"}


class OtherScheme(ValueError):
    """A URL of another scheme than http and https, or of none."""


class WebUrl(NamedTuple):
    """A URL of http or https in its parts."""

    scheme: str
    authority: str  # as written: user, host and port
    host: str  # in ASCII and lower case, IPv6 without brackets
    port: int  # the scheme's own where none is written
    path: str  # as written, but for its dot segments and backslashes; begins with a slash
    query: str  # with its question mark; empty where there is none

    def __str__(self) -> str:
        """The URL, which reads as the same again."""
        text = f"{self.scheme}://{self.authority}{self.path}{self.query}"
        kept = text.rstrip(_OUTSIDE)  # what stood before a fragment would else be stripped as an end
        return kept + "".join(f"%{ord(char):02X}" for char in text[len(kept) :])


def parse(url: str, base: WebUrl | None = None) -> WebUrl:
    """The URL that a browser asks for, `url` being relative to `base` or absolute. Raises ValueError where there is
    none, OtherScheme where it is none of http or https."""
    text = _tidy(url)
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    rest = text[found.end() :] if found else text
    if scheme and scheme not in PORTS:
        raise OtherScheme(f"{scheme[:20]}: only http and https are fetched")
    relative = base if base and scheme in ("", base.scheme) else None
    if not scheme and relative is None:
        raise OtherScheme("no scheme: only http and https are fetched")
    slashes = len(rest) - len(rest.lstrip("/\\"))
    if relative is not None and slashes < 2:
        path, mark, query = rest.partition("?")
        if not path:
            return relative._replace(query=mark + query) if mark else relative
        folder = "" if slashes else relative.path[: relative.path.rindex("/") + 1]
        return relative._replace(path=_plain_path(folder + path), query=mark + query)
    scheme = scheme or (relative.scheme if relative is not None else "")
    rest = rest[slashes:]
    authority = _AUTHORITY.match(rest)
    assert authority is not None, "it matches nothing, too"
    path, mark, query = rest[authority.end() :].partition("?")
    host, port = _host_and_port(authority[0])
    own = PORTS[scheme] if port is None else port
    return WebUrl(scheme, authority[0], host, own, _plain_path(path or "/"), mark + query)


def resolve(base: str, url: str) -> str | None:
    """The absolute URL that `url` means in a page whose base is `base` ("": none), without its fragment; None where a
    browser finds none. One of another scheme, or a relative one without a base, is only tidied."""
    text = _tidy(url)
    found = _SCHEME.match(text)
    if (found and found[1].lower() not in PORTS) or not (found or base):
        return text
    try:
        return str(parse(url, _parsed_base(base)))
    except ValueError:
        return None


@functools.lru_cache(maxsize=64)
def _parsed_base(base: str) -> WebUrl | None:
    try:
        return parse(base)
    except ValueError:
        return None


def _tidy(url: str) -> str:
    return url.strip(_OUTSIDE).translate(_BREAKS).partition("#")[0]


def _plain_path(path: str) -> str:
    """The path with slashes for backslashes and without dot segments, also those written %2e."""
    path = path.replace("\\", "/")
    if not _DOT_SEGMENT.search(path):
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments, 1):
        name = segment.lower()
        if name in _UP:
            del kept[-1:]
        elif name not in _HERE:
            kept.append(segment)
            continue
        if number == len(segments):
            kept.append("")
    return "/" + "/".join(kept)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    parts = _HOST_AND_PORT.fullmatch(authority.rpartition("@")[2])
    if parts is None:
        raise ValueError("no host, or no port that is a number")
    port = int(parts[2]) if parts[2] and len(parts[2].lstrip("0")) < 6 else 65536 if parts[2] else None
    if port is not None and port > 65535:
        raise ValueError("its port is above 65535")
    host = parts[1]
    return _ipv6(host[1:-1].lower()) if host.startswith("[") else ascii_host(host), port


def host_of(url: str) -> str:
    """The host of a URL of any scheme. Raises ValueError where it has none."""
    found = _SCHEME.match(_tidy(url))
    if found and found[1].lower() in PORTS:
        return parse(url).host
    return ascii_host(urlsplit(url).hostname or "")


def ascii_host(host: str) -> str:
    """The host in lower case, percent-decoded, without a dot at its end, an international name by IDNA 2008 (UTS 46);
    a number in any of the forms of IPv4 as four decimal ones, IPv6 without brackets. Raises ValueError where there is
    none, or no such host can be."""
    host = unquote(host).removesuffix(".").lower()
    if ":" in host:
        return _ipv6(host)
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode().removesuffix(".")
        except UnicodeError as error:
            raise ValueError(f"the host is no international name ({error})") from None
    if _ENDS_IN_NUMBER.search(host):
        return _ipv4(host)
    if not _HOST.fullmatch(host):
        raise ValueError("no host, or one with characters that no name has")
    return host


def _ipv6(host: str) -> str:
    try:
        if _IPV6.fullmatch(host):
            return str(ipaddress.IPv6Address(host))
    except ValueError:
        pass
    raise ValueError("the host is no IPv6 address")


def _ipv4(host: str) -> str:
    """The address that a host means whose last part is a number: up to four parts, decimal, octal (0…) or hexadecimal
    (0x…), the last of which fills what is left of 32 bits."""
    parts = [_NUMBER.fullmatch(part) for part in host.split(".")]
    if len(parts) > 4 or len(host) > 253 or not all(parts):
        raise ValueError("the host ends in a number and is no IPv4 address")
    numbers = [_number(part) for part in parts if part is not None]
    *first, last = numbers
    if any(number > 255 for number in first) or last >= 256 ** (5 - len(numbers)):
        raise ValueError("the host is a number above those of IPv4")
    return str(ipaddress.IPv4Address(last + sum(number << 24 - 8 * place for place, number in enumerate(first))))


def _number(part: re.Match[str]) -> int:
    if part["hex"] is not None:
        return int(part["hex"] or "0", 16)
    return int(part["octal"], 8) if part["octal"] else int(part["decimal"])
