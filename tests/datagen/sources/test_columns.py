from __future__ import annotations

import gzip
import io
from collections import Counter

import pytest

from datagen.sources.columns import FoundColumns, Wanted, find_columns, find_in_first_row, read_fields, read_objects
from openwit.errors import InputError

USUAL = Wanted()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("SAMPLE_ID URL TEXT HEIGHT WIDTH LICENSE NSFW similarity", FoundColumns(1, 2)),  # LAION
        ("id url text width height image_phash", FoundColumns(1, 2)),  # COYO
        ("uid url text original_width original_height", FoundColumns(1, 2)),  # DataComp
        ("uid url alt cc_filename page_url", FoundColumns(1, 2, 4)),  # cc2dataset
        ("url caption text", FoundColumns(0, 1)),
    ],
)
def test_the_usual_names_are_known(names: str, found: FoundColumns) -> None:
    assert find_columns("x", names.split(), USUAL) == found
    assert find_in_first_row("x", names.split(), USUAL) == (found, True)


def test_names_of_the_config_come_before_the_usual_ones() -> None:
    names = ["url", "caption", "thumb", "subject"]
    assert find_columns("x", names, Wanted("thumb", "subject")) == FoundColumns(2, 3)
    with pytest.raises(InputError, match="x: lacks the column Thumb; it has url, caption, thumb, subject"):
        find_columns("x", names, Wanted("Thumb", "subject"))


def test_two_columns_without_header_are_known_by_their_look() -> None:
    assert find_in_first_row("x", ["a cat", "http://a.test/1.jpg"], USUAL) == (FoundColumns(1, 0), False)  # CC3M
    assert find_in_first_row("x", ["HTTPS://a.test/1.jpg", "a cat"], USUAL) == (FoundColumns(0, 1), False)  # CC12M


def test_numbers_name_the_columns_of_a_table_without_header() -> None:
    assert find_in_first_row("x", ["7", "a cat", "http://a.test/1.jpg"], Wanted("3", "2")) == (
        FoundColumns(2, 1),
        False,
    )
    with pytest.raises(InputError, match="x: has 2 columns, expected the columns 3 and 1"):
        find_in_first_row("x", ["a", "b"], Wanted("3", "1"))


@pytest.mark.parametrize("row", [["7", "a cat", "http://a.test/1.jpg"], ["a", "b"], ["http://a", "http://b"], ["url"]])
def test_columns_that_cannot_be_told_are_refused_with_what_to_write(row: list[str]) -> None:
    with pytest.raises(InputError, match=r"x: which column is the image URL.*--sources\.url_column"):
        find_in_first_row("x", row, USUAL)


def fields(data: bytes, is_tsv: bool = False) -> tuple[list[tuple[int, list[str]]], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(read_fields("x", io.BytesIO(data), is_tsv, counts)), counts


def test_csv_fields_may_hold_commas_quotes_and_line_breaks() -> None:
    found, counts = fields(b'\xef\xbb\xbfurl,text\r\na,"x, ""y""\nz"\n\nb,c')
    assert found == [(1, ["url", "text"]), (3, ["a", 'x, "y"\nz']), (5, ["b", "c"])]
    assert not counts


def test_in_tsv_a_quote_is_a_letter() -> None:
    assert fields(b'"a\thttp://1\nb"\thttp://2\n', True)[0] == [(1, ['"a', "http://1"]), (2, ['b"', "http://2"])]


@pytest.mark.parametrize("bad", [b"c", b"c,d,e", b"\xff,c", b"c," + b"d" * 200_000])
def test_a_damaged_row_is_counted_and_the_others_kept(bad: bytes) -> None:
    found, counts = fields(b"a,b\n" + bad + b"\ne,f\n")
    assert [row for _, row in found] == [["a", "b"], ["e", "f"]]
    assert counts == {"records_damaged": 1}


def test_a_file_that_breaks_off_keeps_its_whole_lines_and_says_so() -> None:
    text = b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(50_000))
    found, counts = fields(gzip.compress(text)[:-1000])
    assert [row for _, row in found] == [[f"{number}", f"{number * 7919}"] for number in range(len(found))]
    assert 40_000 < len(found) < 50_000
    assert counts == {"files_truncated": 1}


def test_after_a_damaged_part_the_next_whole_line_is_read() -> None:
    parts = [b"a,1\nb,2\nc", b",3\nd,4\n", b"e,5\nf", b",6\ng,7\n"]
    packed = [bytearray(gzip.compress(part)) for part in parts]
    packed[1][-6] ^= 1
    found, counts = fields(b"".join(packed))
    assert [row for _, row in found] == [["a", "1"], ["b", "2"], ["f", "6"], ["g", "7"]]
    assert counts == {"records_damaged": 1}


def test_objects_come_with_their_line_and_broken_ones_are_counted() -> None:
    counts: Counter[str] = Counter()
    data = b'{"a": 1}\n\n{"a": \n[1]\n{"a": "\xff"}\n{"a": "x"}'
    assert list(read_objects("x", io.BytesIO(data), counts)) == [(1, {"a": 1}), (6, {"a": "x"})]
    assert counts == {"records_damaged": 3}
