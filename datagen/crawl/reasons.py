"""The fixed words under which img2dataset's free-text error messages are counted."""

from __future__ import annotations

import re

_RULES = (
    (re.compile(r"^image_(\w+):"), "image_{}"),  # our resizer's words
    (re.compile(r"refused_address|too_many_redirects|\btoo_large"), None),  # the policy's own words stand as they are
    (re.compile(r"infinite loop", re.IGNORECASE), "too_many_redirects"),
    (re.compile(r"HTTP Error (\d{3})"), "http_{}"),
    (re.compile(r"X-Robots-Tag"), "disallowed"),
    (re.compile(r"unknown url type"), "scheme"),
    (re.compile(r"deadline passed|timed out", re.IGNORECASE), "timeout"),
    (re.compile(r"Name or service not known|name resolution|getaddrinfo|nodename", re.IGNORECASE), "dns"),
    (re.compile(r"certificate|SSL|TLS", re.IGNORECASE), "tls"),
    (re.compile(r"IncompleteRead"), "incomplete"),
    (re.compile(r"refused|reset|closed connection|unreachable|broken pipe|no address", re.IGNORECASE), "connection"),
)


def reason(error_message: str) -> str:
    """The word under which a failed fetch is counted, e.g. http_404, timeout, image_truncated; else "other"."""
    for pattern, word in _RULES:
        if match := pattern.search(error_message):
            return word.format(*match.groups()) if word else match[0]
    return "other"
