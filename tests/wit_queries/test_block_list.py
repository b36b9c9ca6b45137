from __future__ import annotations

from pathlib import Path

import pytest

from openwit.errors import InputError
from wit_queries.block_list import read_block_list


def write(tmp_path: Path, data: bytes) -> str:
    (tmp_path / "block.txt").write_bytes(data)
    return str(tmp_path / "block.txt")


def test_lines_are_normalised_as_terms_are_and_keep_how_they_were_written(tmp_path: Path) -> None:
    text = "\ufeff# not these\nSt. Louis\n\n  CAF\u00c9 \r\nst louis\n#cat\n"
    blocked = read_block_list(write(tmp_path, text.encode()))
    assert blocked == {"st louis": "St. Louis", "caf\u00e9": "CAF\u00c9"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.txt: no such file"):
        read_block_list(str(tmp_path / "none.txt"))


def test_a_line_without_a_word_is_named_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"block.txt: line 2, '\*\*\*', has no word"):
        read_block_list(write(tmp_path, b"cat\n***\n"))


def test_a_file_that_is_no_text_is_named_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"block.txt: is no UTF-8 text \(byte 4\)"):
        read_block_list(write(tmp_path, b"cat\n\xff\xfe"))
