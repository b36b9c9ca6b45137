from __future__ import annotations

import re
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.config import ROBOTS_TAGS
from datagen.crawl.fetch.failures import FetchFailed
from datagen.crawl.politeness.reservations import TdmRules, check_headers, matches, robots_tag


def headers(*tags: str, **others: str) -> Message:
    message = Message()
    for tag in tags:
        message["X-Robots-Tag"] = tag
    for name, value in others.items():
        message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["noai"], "noai"),
        (["nofollow, NoImageAI"], "noimageai"),
        (["noml"], "noml"),
        (["none"], "none"),
        (["noindex"], "noindex"),
        (["index, follow", "noai"], "noai"),
        (["openwit: noai"], "noai"),
        (["OpenWit: nofollow, noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], None),
        (["otherbot: noindex, noai"], None),
        (["otherbot: noindex, openwit: noai"], "noai"),
        (["openwit: nofollow, otherbot: noai"], None),
        (["otherbot: noai", "nofollow"], None),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noai"], "noai"),
        (["max-image-preview: large"], None),
        (["openwit: all"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_directive_counts_where_it_is_meant_for_all_or_for_us(tags: list[str], found: str | None) -> None:
    assert robots_tag(headers(*tags), "openwit", ROBOTS_TAGS) == found


def test_a_directive_that_the_config_does_not_name_is_ignored() -> None:
    assert robots_tag(headers("noai, noindex"), "openwit", ("noindex",)) == "noindex"


def test_the_tdm_header_reserves_where_it_is_one_and_the_switch_is_on() -> None:
    with pytest.raises(FetchFailed, match="tdm_reservation"):
        check_headers(headers(TDM_Reservation="1"), "openwit", (), tdm=True)
    check_headers(headers(TDM_Reservation="1"), "openwit", (), tdm=False)
    check_headers(headers(TDM_Reservation="0"), "openwit", (), tdm=True)


RULES = b"""[{"location": "/directory-a/", "tdm-reservation": 1}, {"location": "/b/free/*.jpg$", "tdm-reservation": 0},
{"location": "/b/", "tdm-reservation": 1, "tdm-policy": "https://provider.example/policy.json"}]"""


@pytest.mark.parametrize(
    ("target", "reserved"),
    [("/directory-a/x", True), ("/directory-ab", False), ("/b/x.jpg", True), ("/b/free/x.jpg", False),
     ("/b/free/x.jpg?1", True), ("/", False)],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(target: str, reserved: bool) -> None:
    rules = TdmRules.parse(RULES)
    if reserved:
        with pytest.raises(FetchFailed, match=r"tdm_reservation: /.well-known/tdmrep.json reserves /"):
            rules.check(target)
    else:
        rules.check(target)


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"{}", b"1", b"[1, {}]", b"[" * 100_000, b"\xff", b'[{"location": 1}]']
)
def test_a_file_that_is_none_reserves_nothing(text: bytes) -> None:
    assert TdmRules.parse(text).rules == ()


@given(st.text("ab/*$", max_size=8), st.text("ab/$", max_size=10))
def test_patterns_match_as_the_regular_expressions_that_they_mean(location: str, target: str) -> None:
    body = location.removesuffix("$")
    plain = ".*".join(re.escape(part) for part in body.split("*")) + (r"\Z" if location.endswith("$") else "")
    assert matches(location, target) == bool(re.match(plain, target, re.DOTALL))
