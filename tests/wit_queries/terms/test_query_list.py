from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from wit_queries.terms.query_list import QUERY_COLUMNS, SOURCES, Measures, by_count, merge, read_block_list

lists = st.lists(st.sampled_from("abcdefgh"), unique=True)
NOTHING = Measures({}, {}, {})


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SOURCES, lists)), st.integers(1, 10))
def test_a_term_stands_once_under_its_first_source_and_counts_add_up(terms: dict[str, list[str]], most: int) -> None:
    table, counts = merge(terms, NOTHING, most)
    rows = table.to_pylist()
    ordered = list(dict.fromkeys(query for source in SOURCES for query in terms[source]))
    assert [row["query"] for row in rows] == ordered[:most]
    assert [row["query_id"] for row in rows] == list(range(len(rows)))
    assert all(row["source"] == next(s for s in SOURCES if row["query"] in terms[s]) for row in rows)
    assert all(row["sources"] == [s for s in SOURCES if row["query"] in terms[s]] for row in rows)
    assert counts["in"] == counts["kept"] + counts["dropped.other_source"] + counts["dropped.max_queries"]
    assert counts["kept"] == len(rows) == sum(counts[f"source.{source}"] for source in SOURCES)


def test_rows_carry_all_that_was_measured_whatever_their_source() -> None:
    terms = {"word": ["cat"], "bigram": ["grand slam"], "title": ["cat", "new york"], "synset": ["a b c"]}
    measures = Measures({"cat": 5, "grand slam": 3, "new york": 0}, {"grand slam": 1.5}, {"cat": 70, "new york": 90})
    table, _ = merge(terms, measures, 10)
    assert table.schema.equals(QUERY_COLUMNS)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, "cat", "word", ["word", "title"], 5, None, 70),
        (1, "grand slam", "bigram", ["bigram"], 3, 1.5, None),
        (2, "new york", "title", ["title"], 0, None, 90),
        (3, "a b c", "synset", ["synset"], None, None, None),
    ]


def test_the_frequent_come_first_and_the_uncounted_last() -> None:
    assert by_count(["rare", "never", "often", "seldom"], {"often": 9, "rare": 2, "seldom": 2}) == [
        "often", "rare", "seldom", "never"
    ]  # fmt: skip


def test_a_blocked_term_is_left_out_of_every_source_and_its_place_goes_to_the_next() -> None:
    terms = {"word": ["cat", "dog"], "bigram": [], "title": ["cat", "bird"], "synset": ["fish"]}
    table, counts = merge(terms, NOTHING, 3, blocked={"cat": "Cat!", "unseen": "unseen"})
    assert table["query"].to_pylist() == ["dog", "bird", "fish"]
    assert counts["dropped.blocked"] == 2
    assert counts["in"] == counts["kept"] + counts["dropped.blocked"]


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
