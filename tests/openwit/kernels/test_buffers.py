from __future__ import annotations

import itertools

import numba
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.kernels.buffers import prefetch, text_array, utf8_buffers

any_text = st.text(alphabet=st.characters(exclude_categories=[]))


@settings(deadline=None)
@given(st.lists(any_text, max_size=8), st.integers(0, 8))
def test_the_places_cut_the_bytes_into_the_texts(texts: list[str], start: int) -> None:
    data, offsets = utf8_buffers(text_array(texts)[start:])
    parts = [bytes(data[a:b]).decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(offsets)]
    assert parts == texts[start:]


def test_text_without_surrogates_is_valid_utf8() -> None:
    text_array(["é", "", "\U0001f469"]).validate(full=True)


def test_nulls_are_empty_texts_also_where_bytes_stand_behind_them() -> None:
    hidden = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"ab"), pa.py_buffer(b"\2")
    )
    assert hidden.to_pylist() == [None, "b"]
    data, offsets = utf8_buffers(hidden)
    assert [bytes(data[a:b]) for a, b in itertools.pairwise(offsets)] == [b"", b"b"]


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="binary: expected one of string"):
        utf8_buffers(pa.array([b"a"]))


@numba.njit
def total(numbers: np.ndarray) -> int:
    found = 0
    for index in range(len(numbers)):
        prefetch(numbers, len(numbers) - 1 - index)
        found += numbers[index]
    return found


def test_asking_for_memory_changes_nothing() -> None:
    numbers = np.arange(1000)
    assert total(numbers) == 499_500
    assert numbers.tolist() == list(range(1000))
    assert "prefetch" in next(iter(total.inspect_asm().values()))
