from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.storage.lines import split_lines


@given(st.lists(st.text(alphabet="ab\n", max_size=9).map(str.encode), max_size=6))
def test_lines_are_those_of_the_text_however_it_comes_in_chunks(chunks: list[bytes]) -> None:
    text = b"".join(chunks)
    assert list(split_lines(chunks, 100)) == (text.removesuffix(b"\n").split(b"\n") if text else [])


@given(st.text(alphabet="ab\n", max_size=40).map(str.encode), st.lists(st.integers(0, 40), max_size=5))
def test_one_that_is_too_long_is_none_wherever_the_text_is_cut(text: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(text)]
    chunks = [text[start:end] for start, end in pairwise(places)]
    whole = split_lines([text], 1 << 20)
    assert list(split_lines(chunks, 3)) == [line if line is None or len(line) <= 3 else None for line in whole]


def test_a_damaged_part_takes_the_lines_that_it_breaks() -> None:
    chunks = [b"a\nb", None, b"c\nd\ne", None, None, b"f", b"g\n", b"h"]
    assert list(split_lines(chunks, 10)) == [b"a", None, b"d", None, None, b"h"]


@pytest.mark.parametrize("is_cut", [True, False])
def test_the_last_line_of_a_text_that_breaks_off_is_left_out(is_cut: bool) -> None:
    assert list(split_lines([b"a\nb"], 10, lambda: is_cut)) == ([b"a"] if is_cut else [b"a", b"b"])


def test_no_more_than_the_limit_and_a_chunk_is_held() -> None:
    chunk, sizes = b"x" * 1000, []

    def chunks() -> object:
        for _ in range(1000):
            yield chunk
            sizes.append(1)

    assert list(split_lines(chunks(), 5000)) == [None]  # type: ignore[arg-type]
    assert len(sizes) == 1000
