"""What a site reserves: X-Robots-Tag, and the text and data mining reservation (TDMRep, final report of 2024)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from email.message import Message

import msgspec

from datagen.crawl.fetch.failures import FetchFailed

TDMREP_PATH = "/.well-known/tdmrep.json"
_WITH_VALUE = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}


def robots_tag(headers: Message, agent: str, counted: Collection[str]) -> str | None:
    """The first directive of X-Robots-Tag headers that is among `counted` and meant for all or for `agent`.

    "noai", "openwit: noai" and "otherbot: noindex, openwit: noai" are all understood.
    """
    for header in headers.get_all("X-Robots-Tag", []):
        scope = ""
        for part in header.lower().split(","):
            name, colon, rest = (text.strip() for text in part.partition(":"))
            if colon and name not in _WITH_VALUE:
                scope, name = name, rest
            if scope in ("", "*", agent.lower()) and name in counted:
                return name
    return None


def check_headers(headers: Message, agent: str, robots_tags: Collection[str], tdm: bool) -> None:
    """Raises FetchFailed where an answer's headers reserve it: the directive's own word, or tdm_reservation."""
    if directive := robots_tag(headers, agent, robots_tags):
        raise FetchFailed(directive, "the header X-Robots-Tag says so")
    values = ",".join(headers.get_all("tdm-reservation", [])) if tdm else ""
    if "1" in (value.strip() for value in values.split(",")):
        raise FetchFailed("tdm_reservation", "the header tdm-reservation is 1")


@dataclass(frozen=True)
class TdmRules:
    """A site's tdmrep.json: the first rule whose location matches decides."""

    rules: Sequence[tuple[str, bool]] = ()  # location, whether it is reserved

    @classmethod
    def parse(cls, text: bytes) -> TdmRules:
        """The rules of a file; a file that is no list of objects has none, as has an object without location."""
        try:
            entries = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()
        found = []
        for entry in entries if isinstance(entries, list) else ():
            location = entry.get("location") if isinstance(entry, dict) else None
            if isinstance(location, str) and location:
                found.append((location, str(entry.get("tdm-reservation")) == "1"))
        return cls(tuple(found))

    def check(self, target: str) -> None:
        """Raises FetchFailed (tdm_reservation) where the path and query are reserved."""
        for location, reserved in self.rules:
            if matches(location, target):
                if reserved:
                    raise FetchFailed("tdm_reservation", f"{TDMREP_PATH} reserves {location[:100]}")
                return


def matches(location: str, target: str) -> bool:
    """Whether a pattern as in robots.txt (a prefix, with * for anything and $ for the end) matches; linear in time."""
    parts = location.removesuffix("$").split("*")
    if not target.startswith(parts[0]):
        return False
    place = len(parts[0])
    for part in parts[1:]:
        place = target.find(part, place)
        if place < 0:
            return False
        place += len(part)
    if not location.endswith("$"):
        return True
    if len(parts) == 1:
        return target == parts[0]
    start = len("*".join(parts[:-1]).replace("*", ""))
    return target.endswith(parts[-1]) and len(target) - len(parts[-1]) >= start
