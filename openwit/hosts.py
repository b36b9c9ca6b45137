"""The host that a URL names, as it is asked for on the wire: in ASCII and lower case."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import idna

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_IPV6 = re.compile(r"[0-9a-f:.]+")


def host_of(url: str) -> str:
    """The host of a URL of any scheme. Raises ValueError where it has none."""
    return ascii_host(urlsplit(url).hostname or "")


def ascii_host(host: str) -> str:
    """The host in lower case, percent-decoded, without a dot at its end, an international name by IDNA 2008 (UTS 46);
    IPv6 without brackets. Raises ValueError where there is none, or no such host can be."""
    host = unquote(host).removesuffix(".").lower()
    if ":" in host:
        if not _IPV6.fullmatch(host):
            raise ValueError("the host is no IPv6 address")
        return host
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode()
        except UnicodeError as error:
            raise ValueError(f"the host is no international name ({error})") from None
    if not _HOST.fullmatch(host):
        raise ValueError("no host, or one with characters that no name has")
    return host
