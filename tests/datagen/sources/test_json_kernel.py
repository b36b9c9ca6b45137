# mypy: disable-error-code="arg-type"
from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.sources.json_kernel import string_end, string_start, unescape

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.text('"\\\\u00e9/', max_size=20)


def unescaped(content: bytes) -> bytes | None:
    out = np.zeros(len(content) + 3, dtype=np.uint8)
    size = unescape(np.frombuffer(content, dtype=np.uint8), 0, len(content), out, 3)
    return out[3:size].tobytes() if size >= 0 else None


@given(TEXT, st.booleans())
def test_a_string_says_what_json_says(text: str, ascii_only: bool) -> None:
    assert unescaped(json.dumps(text, ensure_ascii=ascii_only).encode()[1:-1]) == text.encode()


@pytest.mark.parametrize(
    "content", [rb"\x", rb"\u12", rb"\u12g4", rb"\ud800", rb"\ud800x", rb"\ud800A", rb"\udc00", rb"\ud800\ud800"]
)
def test_escapes_that_mean_nothing_are_refused(content: bytes) -> None:
    assert unescaped(content) is None


@given(TEXT, TEXT)
def test_the_quotes_of_a_string_are_found_from_either_side(before: str, text: str) -> None:
    prefix, string = json.dumps(before) + ",", json.dumps(text)
    data = np.frombuffer((prefix + string + ',"x"').encode(), dtype=np.uint8)
    first, last = len(prefix), len(prefix) + len(string) - 1
    assert string_end(data, first, len(data)) == last
    assert string_start(data, last, 0) == first


def test_what_is_no_string_or_has_no_end_is_none() -> None:
    data = np.frombuffer(b'1"a\\"\n"', dtype=np.uint8)
    assert string_end(data, 0, len(data)) == string_end(data, len(data), len(data)) == -1
    assert string_end(data, 1, 5) == -1
    assert string_end(data, 1, len(data)) == -1  # a line break is not escaped
    assert string_start(data, 2, 0) == string_start(data, 1, 1) == -1
