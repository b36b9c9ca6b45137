from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.shards.notes import caption_texts, pair_uid, place_uid, read_record, record_of, salvaged_fields

UID = "0123456789abcdef" * 2
URL = "http://a.test/1.jpg"


def told(notes: object, text: str = "words") -> list[tuple[str, str]]:
    """(uid, caption) of a sample with that key.json and key.txt."""
    data = notes if isinstance(notes, bytes) else json.dumps(notes).encode()
    record = read_record({"json": data, "txt": text.encode()}, "00007", "a/1")
    return [(caption.uid, caption.caption) for caption in record.captions]


def derived(*captions: str) -> list[tuple[str, str]]:
    return [(pair_uid(URL, caption), caption) for caption in captions]


def test_our_own_notes_are_taken_as_they_stand() -> None:
    captions = [{"uid": UID, "caption": "one", "page_url": "p"}, {"uid": UID[::-1], "caption": "two", "page_url": ""}]
    notes = {"uid": UID, "url": URL, "caption": "one", "captions": captions, "sha256": "ab"}
    assert told(notes) == [(UID, "one"), (UID[::-1], "two")]
    quick, record = read_record({"json": json.dumps(notes).encode()}, "00007", "1"), record_of(notes, "00007", "1")
    assert (quick.url, quick.sha256, quick.uids) == (record.url, record.sha256, record.uids)
    assert (record.url, record.sha256, record.uids) == (URL, "ab", [UID, UID[::-1]])
    assert [caption.told for caption in record.captions] == captions


@pytest.mark.parametrize("uid", [None, 7, math.nan, math.inf, "", "u7", UID.upper(), UID + "\n", [UID], {"a": 1}, True])
def test_what_is_no_uid_is_worked_out_from_url_and_caption(uid: Any) -> None:
    assert told({"uid": uid, "url": URL, "caption": "one", "captions": None}) == derived("one")


@pytest.mark.parametrize("url", [None, "", 7, math.nan])
def test_without_a_url_it_is_worked_out_from_shard_key_and_caption(url: Any) -> None:
    assert told({"url": url, "caption": "one"}) == [(place_uid("00007", "a/1", "one"), "one")]
    assert record_of({}, "00007", "a/1", "one").uids == [place_uid("00007", "a/1", "one")]


@pytest.mark.parametrize(
    ("captions", "found"),
    [
        (["one", "two"], ["top", "one", "two"]),
        (["top", "two"], ["top", "two"]),
        ([{"caption": "one"}, {"caption": None}, {"other": "x"}, 7, None], ["top", "one"]),
        ({"caption": "one"}, ["top", "one"]),
        ({"en": "one", "de": "zwei", "no": 7}, ["top", "one", "zwei"]),
        ("one", ["top", "one"]),
        ([], ["top"]),
        (7, ["top"]),
        ([["one"]], ["top"]),
    ],
)
def test_captions_of_any_form_are_found_and_the_caption_itself_stays_the_first(captions: Any, found: Any) -> None:
    fields = {"url": URL, "caption": "top", "captions": captions}
    assert told(fields) == derived(*found)
    assert caption_texts(fields) == found


@pytest.mark.parametrize("captions", [[""], [None], [], ["  \n"], [{"caption": ""}], [{"caption": None}], "", {}])
def test_captions_that_say_nothing_leave_it_to_the_text(captions: Any) -> None:
    assert told({"url": URL, "captions": captions}, "\ufeffwords") == derived("words")
    assert told({"url": URL, "caption": " \n", "captions": captions}) == derived("words")
    assert told({"url": URL, "caption": "said", "captions": captions}) == derived("said")


def test_a_caption_that_says_nothing_or_stands_twice_is_none_more() -> None:
    assert told({"url": URL, "captions": ["a", "", "a", {"caption": " "}, "b"]}) == derived("a", "b")
    ours = [{"uid": UID, "caption": "a"}, {"uid": UID[::-1], "caption": " "}, {"uid": UID, "caption": "a"}]
    assert told({"uid": UID, "url": URL, "caption": "a", "captions": ours}) == [(UID, "a")]


def test_a_uid_beside_captions_without_uids_is_that_of_the_first() -> None:
    assert told({"uid": UID, "url": URL, "caption": "one", "captions": ["one", "two"]})[0] == (UID, "one")


@pytest.mark.parametrize(
    "notes",
    [
        b'\xef\xbb\xbf{"url": "%s", "caption": "one"}' % URL.encode(),
        json.dumps({"url": URL, "caption": "one"}).encode("utf-16"),
        b'{"deep": ' + b"[" * 200_000 + b"]" * 200_000 + b', "url": "%s", "caption": "one"}' % URL.encode(),
        b'{"deep": '
        + b'{"caption": ' * 50_000
        + b'"x"'
        + b"}" * 50_000
        + b', "url": "%s", "caption": "one"}' % URL.encode(),
        b'{"url": "%s", "caption": "one", "score": NaN, "other": -Infinity}' % URL.encode(),
        b'{"url": "%s", "caption": "one", "captions": [{"caption": "cut' % URL.encode(),
        b'{"url": "%s", "caption": "one", what is this}' % URL.encode(),
        b'{"url": "%s", "caption": "one", "captions": {"a": ' % URL.encode() + b"[" * 100_000,
    ],
)
def test_what_stands_beside_a_caption_does_not_cost_it(notes: Any) -> None:
    assert told(notes) == derived("one")


@pytest.mark.parametrize(
    "notes", [b"", b"not json", b"[]", b'[{"caption": "x"}]', b"null", b'"caption"', b"\xff\xfe", b"{"]
)
def test_without_an_object_the_text_is_the_caption(notes: bytes) -> None:
    assert told(notes) == [(place_uid("00007", "a/1", "words"), "words")]


def test_half_a_pair_of_utf16_is_a_text_that_every_file_can_hold() -> None:
    ((uid, caption),) = told(b'{"url": "%s", "caption": "a \\ud83d b"}' % URL.encode())
    assert caption.encode() == b"a ? b"
    assert uid == pair_uid(URL, caption)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["uid", "url", "caption", "x"]), st.text() | st.integers() | st.none()))
def test_what_json_can_be_read_is_read_alike_the_long_way(fields: Any) -> None:
    wanted = {name: value for name, value in fields.items() if name != "x"}
    assert salvaged_fields(json.dumps(fields).encode()) == wanted


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(data: Any) -> None:
    assert len(told(data)) >= 1


@pytest.mark.parametrize(
    "data", [b'{"a": "' + b'\\"' * 2_000_000, b'"' * 2_000_001, b"{" * 2_000_000, b"\\" * 2_000_000]
)
def test_hostile_notes_take_time_by_their_length_only(data: Any) -> None:
    started = time.process_time()
    salvaged_fields(data)
    assert time.process_time() - started < 10
