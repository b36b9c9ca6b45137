from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.kernels.utf8 import BAD_UTF8, decode, encode

DAMAGED = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe3\x81",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80", b"\xff", b"\xc3\xc3",
]  # fmt: skip


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@given(st.characters(exclude_categories=["Cs"]), st.binary(max_size=3), st.binary(max_size=3))
def test_a_code_point_is_written_and_read_as_python_does(char: str, before: bytes, behind: bytes) -> None:
    data = before + char.encode() + behind
    assert decode(array(data), len(before), len(data)) == (ord(char), len(char.encode()))
    out = np.zeros(len(before) + 4, np.uint8)
    size = encode(out, len(before), ord(char))
    assert bytes(out[len(before) : size]) == char.encode()


@pytest.mark.parametrize("data", DAMAGED, ids=bytes.hex)
def test_what_is_no_utf8_is_one_damaged_byte(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        data.decode()
    assert decode(array(data), 0, len(data)) == (BAD_UTF8, 1)


@pytest.mark.parametrize("char", ["é", "あ", "\U0001f600"])
def test_a_code_point_that_ends_behind_the_text_is_damaged(char: str) -> None:
    data = array(char.encode())
    assert decode(data, 0, len(data)) == (ord(char), len(data))
    assert decode(data, 0, len(data) - 1) == (BAD_UTF8, 1)
