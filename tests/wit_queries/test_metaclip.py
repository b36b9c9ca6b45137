from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wit_queries.metaclip import PUNCTUATION, WHITE_SPACE, spaced_batch
from wit_queries.text_buffers import text_array


def spaced(text: str) -> str:
    for sign in PUNCTUATION:
        text = text.replace(sign, f" {sign} ")
    for sign in WHITE_SPACE:
        text = text.replace(sign, " ")
    return text


@settings(deadline=None)
@given(st.lists(st.text(alphabet="aé.,;:?!`'\"-\t\n\r\x0b \ud800\U0001f469"), max_size=6), st.integers(0, 3))
def test_captions_are_spaced_sign_by_sign(captions: list[str], start: int) -> None:
    data, places = spaced_batch(text_array(captions)[start:])
    found = [bytes(data[a:b]).decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(places)]
    assert found == [spaced(caption) for caption in captions[start:]]


@pytest.mark.parametrize(
    ("caption", "expected"), [("St. Louis", "St .  Louis"), ("a\tb\r\n", "a b  "), ("it's", "it's")]
)
def test_a_caption_becomes(caption: str, expected: str) -> None:
    data, _ = spaced_batch(pa.array([caption]))
    assert bytes(data).decode() == expected
