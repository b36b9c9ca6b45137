from __future__ import annotations

import pytest

from datagen.sources.columns import FoundColumns, Wanted, find_columns, find_in_first_row
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
