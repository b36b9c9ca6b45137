from __future__ import annotations

from openwit.shards.notes import pair_uid


def test_a_uid_is_32_hex_digits_of_url_and_caption() -> None:
    assert pair_uid("http://a.test/x.jpg", "a cat") == "3aea4ef9fa162367e15cd9716fb59853"
    assert pair_uid("ab", "c") != pair_uid("a", "bc")


def test_lone_surrogates_have_a_uid() -> None:
    assert len(pair_uid("http://a.test/\ud800", "\udfff")) == 32
