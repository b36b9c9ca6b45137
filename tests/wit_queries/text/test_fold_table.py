from __future__ import annotations

import unicodedata

import pytest

from openwit.kernels.compiled import UNSURE
from wit_queries.text.fold_table import (
    APOSTROPHE,
    INVISIBLE_SIGN,
    LETTER,
    MARK,
    SEPARATOR,
    TABLE_END,
    fold_table,
)


@pytest.mark.parametrize(
    ("sign", "action"),
    [
        ("a", LETTER),
        ("é", LETTER),
        ("語", LETTER),
        ("ж", LETTER),
        ("한", LETTER),
        ("5", LETTER),
        ("’", APOSTROPHE),
        ("＇", APOSTROPHE),
        (" ", SEPARATOR),
        ("…", SEPARATOR),
        ("\u200b", SEPARATOR),
        ("\ud800", SEPARATOR),
        ("\U0001f469", SEPARATOR),
        ("\u00ad", INVISIBLE_SIGN),
        ("\ufe0f", INVISIBLE_SIGN),
        ("\u093f", MARK),
        ("\u094d", MARK),
        ("\u0e48", MARK),
        ("\u0301", UNSURE),
        ("\u1161", UNSURE),
    ],
)
def test_a_code_point_does_this(sign: str, action: int) -> None:
    assert fold_table().action[ord(sign)] == action


def test_letters_of_living_scripts_stay_on_the_compiled_path() -> None:
    table = fold_table()
    blocks = [(0x20, 0x300), (0x370, 0x530), (0x3041, 0x3097), (0x30A1, 0x30FB), (0x4E00, 0xA000), (0xAC00, 0xD7A4)]
    blocks += [(0x1E00, 0x1F00), (0x2000, 0x2060), (0xFF01, 0xFF5F), (0x1F300, 0x1FAFF)]
    for first, end in blocks:
        unsure = [hex(code) for code in range(first, end) if table.action[code] == UNSURE]
        assert len(unsure) <= 0.02 * (end - first), unsure


def test_all_that_composes_with_what_stands_before_it_is_unsure() -> None:
    table = fold_table()
    for code in range(TABLE_END):
        parts = unicodedata.normalize("NFD", chr(code))
        cased = parts[-1] != parts[-1].casefold()  # U+0345 is a letter before it could compose
        if len(parts) > 1 and unicodedata.normalize("NFC", parts) == chr(code) and not cased:
            assert table.action[ord(parts[-1])] == UNSURE, hex(code)


def test_places_in_the_runs_hold_the_folded_text() -> None:
    table = fold_table()
    place = int(table.action[ord("½")])
    assert bytes(table.runs[place : place + 2]) == bytes((3, 5))
    assert bytes(table.runs[place + 2 : place + 5]) == bytes((-LETTER, 1)) + b"1"
