from __future__ import annotations

import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openwit.kernels.buffers import text_array
from openwit.kernels.compiled import UNSURE
from wit_queries.text import fold_table
from wit_queries.text.fast_normalize import normalize_batch
from wit_queries.text.normalize import normalize

ODD = "aZ09sS'’‘ʼ＇ʻ _-.,ßẞſİıŉŉᾳͅςΣσﬁﬃ²½…Å가각한ㅤनि語ｶﾞＡ１ﷺ㏂´ȺⱥǰΐΩK"
ODD += "\u1100\u1161\u11a8\u0301\u0323\u0345\u0338\u00a8\u00ad\u200b\u200c\u200d\u200e\ufe0f\u20e3\u0e33\u0e48\u0e38"
ODD += "\u093c\u094d\u0958\u09c7\u09be\u1fb3\u1e9a\u0149\u01c5\u2126\u212a\U0001f469\U0001d400\U0001f1e9\U000e0067"
ODD += "\U000e0100\U0002f800\U00020000\U00010000\U0010ffff\ud800\udfff\x00\n\x85\u2028"
texts = st.one_of(
    st.text(), st.text(alphabet=ODD), st.text(alphabet="ab'sS ’é"), st.text(alphabet=st.characters(max_codepoint=0x2FF))
)
SEED = 20261121


def expected(found: list[str]) -> list[str]:
    return [normalize(text) for text in found]


@settings(deadline=None, max_examples=300)
@given(st.lists(texts, max_size=8))
@example(["ŉ", "a\u0345\u0301B", "x's's", "x''s", "a'\u0301b", "'s", "ﷺ" * 40, "", "é's"])
@example(["\u0e38\u0e48", "\u0e48\u0e38", "a\u0e48\u200d\u0e38", "e\u0301\u0323", "é\u0338", "\u00b4\u0323a"])
def test_each_text_becomes_what_the_definition_makes_of_it(found: list[str]) -> None:
    assert normalize_batch(text_array(found)).to_pylist() == expected(found)


@settings(deadline=None)
@given(texts)
def test_composed_and_decomposed_spellings_become_what_the_definition_makes_of_them(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    forms += [forms[0] + forms[1], text.upper(), text.title(), text.swapcase()]
    assert normalize_batch(text_array(forms)).to_pylist() == expected(forms)


@pytest.mark.parametrize("around", [("", ""), ("a", "b's"), ("e'", "'s"), ("é ", "\u0301")])
def test_every_code_point_becomes_what_the_definition_makes_of_it(around: tuple[str, str]) -> None:
    step = 1 if around == ("a", "b's") else 7
    codes = [
        *range(0, 0x3000, 1),
        *range(0x3000, fold_table.TABLE_END + 64, step),
        *range(0xE0000, 0xE0200, 3),
        0x10FFFF,
    ]
    found = [around[0] + chr(code) + around[1] for code in codes]
    assert normalize_batch(text_array(found)).to_pylist() == expected(found)


def test_random_strings_of_code_points_that_act_on_neighbours_fold_as_the_definition_says() -> None:
    table = fold_table.fold_table()
    acting = np.flatnonzero((table.order > 0) | (table.action < fold_table.SEPARATOR) | (table.action >= 0))
    marks = np.flatnonzero(table.order > 0)
    unsure = np.flatnonzero(table.action == UNSURE)
    draw = random.Random(SEED)
    pools = [list(map(chr, codes)) for codes in (acting, marks, marks, unsure, range(32, 127), range(0xA0, 0x250))]
    found = ["".join(draw.choice(draw.choice(pools)) for _ in range(draw.randint(2, 7))) for _ in range(60_000)]
    assert normalize_batch(text_array(found)).to_pylist() == expected(found)


@settings(deadline=None)
@given(st.lists(st.none() | texts, max_size=8), st.integers(0, 8), st.integers(0, 8), st.booleans())
def test_slices_nulls_and_both_widths_of_offsets_are_read(
    found: list[str | None], start: int, length: int, large: bool
) -> None:
    kept = [None if text is None else text.encode("utf-8", "replace").decode() for text in found]
    array = pa.array(kept, pa.large_string() if large else pa.string()).slice(min(start, len(kept)), length)
    assert normalize_batch(array).to_pylist() == expected([text or "" for text in array.to_pylist()])
    assert normalize_batch(array).type == pa.string()


def test_an_array_of_nulls_is_an_array_of_empty_texts() -> None:
    assert normalize_batch(pa.array([None, None])).to_pylist() == ["", ""]
    assert normalize_batch(pa.array([], pa.string())).to_pylist() == []


def test_long_texts_are_normalised_to_their_end() -> None:
    found = ["Straße, " * 50_000 + "Ende's", "ﷺ" * 20_000 + " x", "e\u0301 " * 1000 + "é", "Ⱥ" * 50_000]
    assert normalize_batch(pa.array(found)).to_pylist() == expected(found)


@pytest.mark.parametrize(
    "damaged",
    [
        b"a \xff", b"\xc3", b"\xe3\x81", b"\xf0\x9f\x98 ", b"\xc0\x80", b"\xed", b"\x80", b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80",
    ],
)  # fmt: skip
def test_bytes_that_are_no_utf8_are_refused(damaged: bytes) -> None:
    ends = pa.py_buffer(np.array([0, len(damaged), len(damaged) + 3], dtype=np.int32))
    array = pa.StringArray.from_buffers(2, ends, pa.py_buffer(damaged + "あ".encode()))
    with pytest.raises(UnicodeDecodeError):
        normalize_batch(array)


def test_arrays_of_numbers_are_refused() -> None:
    with pytest.raises(TypeError, match="int64: expected one of string"):
        normalize_batch(pa.array([1]))
