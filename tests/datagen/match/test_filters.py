# mypy: disable-error-code="arg-type"
from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.config import CandidatesConfig
from datagen.match import filters

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.text(
    "a &;#x0193nbsp\t\x1c\x85\xa0\u2003\u3000", max_size=20
)


def caption_reason(caption: str, url: str = "http://s.test/a", origin: str = "alt", **config: object) -> str:
    """The first fault of a pair."""
    pairs = pa.table({"url": [url], "caption": [caption], "caption_from": pa.array([origin]).dictionary_encode()})
    return first(filters.caption_faults(CandidatesConfig(**config), pairs))


def url_reason(url: str | None, **config: bool) -> str:
    return first(filters.url_faults(CandidatesConfig(**config), pa.chunked_array([[url]], pa.string())))


def first(faults: dict[str, filters.Mask]) -> str:
    return next((reason for reason, found in faults.items() if found[0]), "")


@given(st.lists(TEXT, max_size=5))
def test_white_space_is_one_space_and_all_else_stays(texts: list[str]) -> None:
    expected = [" ".join(text.split()) for text in texts]
    assert filters.clean_captions(pa.array(texts, pa.string())).to_pylist() == expected


@pytest.mark.parametrize(
    "caption",
    ["DSC00042", "image", "photo_12.JPG", "my-holiday%20image.webp", "Image logo ICON", "img (3)", "12 / 7",
     "1234", "https://s.test/x", "Screenshot 2024-05-01", "no image", "--", "größe.png"],
)  # fmt: skip
def test_file_names_numbers_and_empty_words_are_boilerplate(caption: str) -> None:
    assert caption_reason(caption) == "boilerplate"
    assert caption_reason(caption, drop_boilerplate=False) == ""


@pytest.mark.parametrize(
    "caption",
    ["a logo of a cat", "cat", "Photo of the bridge", "version 2.jpg of a plan", "Imagen", "Iconic", "1. FC Köln", "猫",
     "Кот", "image cat", "Adobe", "Logoö", "adimage", "Node.js", "Route 66", "images at an exhibition"],
)  # fmt: skip
def test_captions_that_say_something_are_not(caption: str) -> None:
    assert caption_reason(caption) == ""


@pytest.mark.parametrize(
    ("caption", "limit", "reason"),
    [
        ("cät", {"min_caption_chars": 4}, "caption_too_short"),
        ("cäts", {"min_caption_chars": 4}, ""),
        ("a cat", {"min_caption_words": 3}, "caption_too_short"),
        ("a black cat", {"min_caption_words": 3}, ""),
        ("ätäta", {"max_caption_chars": 4}, "caption_too_long"),
        ("ätät", {"max_caption_chars": 4}, ""),
        ("a b c", {"max_caption_words": 2}, "caption_too_long"),
        ("a b", {"max_caption_words": 2}, ""),
    ],
)
def test_captions_have_limits_in_characters_and_words(caption: str, limit: dict[str, int], reason: str) -> None:
    assert caption_reason(caption, **limit) == reason


def test_a_missing_caption_is_its_own_reason_and_a_title_may_stand_in_for_it() -> None:
    assert caption_reason("") == "no_alt"
    assert caption_reason("a cat", origin="title") == ""
    assert caption_reason("a cat", origin="title", title_without_alt=False) == "no_alt"


@pytest.mark.parametrize("url", ["data:image/gif;base64,R0", " DATA:,x"])
def test_an_image_inside_its_url_is_no_candidate(url: str) -> None:
    assert caption_reason("a cat", url) == "data_uri"
    assert caption_reason("", url) == "no_alt"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "bad_url"),
        ("ftp://s.test/a.jpg", "not_http"),
        ("javascript:void(0)", "not_http"),
        ("HTTPS://s.test/a.jpg", ""),
        ("http://s.test/a.jpg", ""),
    ],
)
def test_only_http_is_fetched(url: str | None, reason: str) -> None:
    assert url_reason(url) == reason


@pytest.mark.parametrize(
    "url",
    ["https://www.facebook.com/tr?id=1&noscript=1", "https://pixel.wp.com/g.gif?v=ext", "http://s.test/img/Spacer.gif",
     "https://ad.doubleclick.net/x", "https://stats.example.org/i.png", "http://s.test/1x1.png?x"],
)  # fmt: skip
def test_tracking_pixels_are_known_by_their_address(url: str) -> None:
    assert url_reason(url) == "tracking_pixel"
    assert url_reason(url, drop_trackers=False) == ""


@pytest.mark.parametrize(
    "url", ["https://pixelart.test/cat.png", "http://s.test/stats.png", "http://s.test/google-pixel.jpg"]
)
def test_images_of_alike_addresses_are_kept(url: str) -> None:
    assert url_reason(url) == ""


def test_each_row_is_counted_once_under_its_first_fault() -> None:
    counts: Counter[str] = Counter()
    faults = {"a": np.array([True, True, False, False]), "b": np.array([True, False, True, False])}
    assert filters.without(pa.table({"x": [0, 1, 2, 3]}), faults, counts)["x"].to_pylist() == [3]
    assert counts == {"dropped.a": 2, "dropped.b": 1}


WORDS = [
    "image", "images", "img", "photo", "photos", "picture", "pictures", "pic", "logo", "icon", "banner", "avatar",
    "thumbnail", "thumb", "spacer", "pixel", "blank", "placeholder", "advertisement", "ad", "ads", "loading",
    "untitled", "default", "no image", "image not found", "null", "undefined", "alt", "alt text",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_each_of_the_empty_words_is_boilerplate(word: str) -> None:
    assert caption_reason(word) == caption_reason(word.upper()) == "boilerplate"
    assert filters.EMPTY_WORDS.split("|") == WORDS
