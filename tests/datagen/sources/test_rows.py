from __future__ import annotations

import csv
import gzip
import io
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources.rows import read_fields, read_objects


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


def row_texts(data: bytes, is_tsv: bool = False) -> tuple[list[list[str]], int]:
    """The rows behind the header, and how many are damaged."""
    found, counts = fields(data, is_tsv)
    return [row for _, row in found[1:]], counts["records_damaged"]


HEAD = b"url,caption\n"
A, B, C = ["http://a/1", "a cat"], ["http://a/2", "a dog"], ["http://a/3", "x, y"]
ROWS = b'http://a/1,a cat\nhttp://a/2,a dog\nhttp://a/3,"x, y"\n'


@pytest.mark.parametrize(
    "open_row",
    [
        b'http://a/0,"5 inch pipe',
        b'http://a/0,"',
        b'http://a/0,"say ""hello"" ',
        b'"http://a/0,half',
        b'http://a/0,"a "quoted" word and "more',  # in a field that is open no longer: kept
    ],
)
def test_a_quote_that_is_never_closed_costs_its_own_line(open_row: bytes) -> None:
    for place in range(4):
        lines = ROWS.splitlines(keepends=True)
        data = HEAD + b"".join([*lines[:place], open_row + b"\n", *lines[place:]])
        found, damaged = row_texts(data)
        assert [row for row in found if row[0] != "http://a/0"] == [A, B, C]
        assert len(found) + damaged == 4
        assert not any("http" in caption for _, caption in found)


def test_two_open_quotes_take_no_other_rows_url() -> None:
    found, damaged = row_texts(HEAD + b'http://a/0,"5 inch\n' + ROWS + b'http://a/4,"6 inch\nhttp://a/5,"\n')
    assert (found, damaged) == ([A, B, C], 3)


def test_a_caption_before_its_url_may_be_open_too() -> None:
    data = b'caption,url\n"5 inch pipe,http://a/0\na cat,http://a/1\na 6",http://a/2\n"two\nlines",http://a/3\n'
    found, damaged = row_texts(data)
    assert found == [["a cat", "http://a/1"], ['a 6"', "http://a/2"], ["two\nlines", "http://a/3"]]
    assert damaged == 1


def test_rows_over_several_lines_are_kept_whatever_their_lines_hold() -> None:
    captions = ["one\ntwo", "see\nhttp://x.test/ there", 'a ""word""\n\n,,\n', "\n", "caf\u00e9\r\nau lait", "a\rb"]
    data = HEAD + b"".join(f'http://a/{n},"{text}"\n'.encode() for n, text in enumerate(captions))
    found, damaged = row_texts(data)
    assert [caption for _, caption in found] == [text.replace('""', '"') for text in captions]
    assert not damaged


def test_a_line_that_is_no_utf8_within_quotes_damages_its_own_row_alone() -> None:
    found, damaged = row_texts(HEAD + b'http://a/0,"a boat\nin the caf\xe9"\n' + ROWS)
    assert (found, damaged) == ([A, B, C], 1)
    found, damaged = row_texts(HEAD + b'http://a/0,"a caf\xe9\nhttp://a/9 x\n' + ROWS)
    assert (found, damaged) == ([A, B, C], 2)


@pytest.mark.parametrize("lines", [1100, 60_000])
def test_an_open_row_is_held_to_its_limits_and_read_again(lines: int) -> None:
    fill = b"no row\n" * lines
    found, damaged = row_texts(HEAD + b'http://a/0,"open\n' + fill + ROWS)
    assert (found, damaged) == ([A, B, C], lines + 1)


@pytest.mark.parametrize(
    ("line", "expected", "num_damaged"),
    [
        (b"http://a/1,a cat\rhttp://a/2,a dog", [A, B], 0),
        (b"http://a/1,a cat\rsits", [], 1),
        (b"http://a/1,a cat\r\r\n", [A], 0),
        (b"http://a/1,a \0cat", [["http://a/1", "a \0cat"]], 0),
        (b"\xef\xbb\xbfhttp://a/1,a cat", [["\ufeffhttp://a/1", "a cat"]], 0),
    ],
)
def test_a_lone_carriage_return_parts_rows_or_damages_one(
    line: bytes, expected: list[list[str]], num_damaged: int
) -> None:
    assert row_texts(HEAD + line + b"\n") == (expected, num_damaged)
    assert row_texts((HEAD + line + b"\n").replace(b",", b"\t"), True) == (expected, num_damaged)


def test_a_file_with_carriage_returns_alone_is_read() -> None:
    found, damaged = row_texts((HEAD + ROWS).replace(b"\n", b"\r"))
    assert (found, damaged) == ([A, B, C], 0)


@settings(deadline=None)
@given(st.lists(st.lists(st.text(alphabet='ab",\n\r \u00e9', max_size=6), min_size=2, max_size=2), max_size=8))
def test_what_a_writer_of_csv_writes_is_read(table: list[list[str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([["url", "caption"], *table])
    assert row_texts(stream.getvalue().encode()) == (table, 0)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"http://a/1", b",", b'"', b"x", b"\n", b"\r", b"\r\n"]), max_size=30))
def test_every_line_is_in_a_row_or_counted(parts: list[bytes]) -> None:
    data = b"".join(parts)
    found, counts = fields(HEAD + data)
    lines = [line for line in data.split(b"\n") if line.strip(b"\r")]
    assert sum(1 + "".join(row).count("\n") for _, row in found[1:]) + counts["records_damaged"] >= len(lines)
    assert all(len(row) == 2 for _, row in found)


@pytest.mark.parametrize("is_tsv", [False, True])
def test_a_line_without_end_is_one_damaged_row_and_is_not_held(is_tsv: bool) -> None:
    endless = gzip.compress(HEAD.replace(b",", b"\t") if is_tsv else HEAD) + gzip.compress(b"x" * 80_000_000)
    last = b"\n" + (ROWS.replace(b",", b"\t") if is_tsv else ROWS)
    tracemalloc.start()
    found, counts = fields(endless + gzip.compress(last), is_tsv)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 4 - is_tsv  # the quoted comma is a tab there
    assert counts == {"records_damaged": 1 + is_tsv}
    assert peak < 120_000_000


def objects(data: bytes) -> tuple[list[dict[str, object]], Counter[str]]:
    counts: Counter[str] = Counter()
    return [row for _, row in read_objects("x", io.BytesIO(data), counts)], counts


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 6000, r'"\ud800"', "[" * 500 + "]" * 500, "-0", "1E+2"]
)
def test_an_odd_value_of_another_key_costs_nothing(value: str) -> None:
    found, counts = objects(f'{{"url": "u", "odd": {value}}}\n'.encode())
    assert [row["url"] for row in found] == ["u"]
    assert not counts


@pytest.mark.parametrize(
    "line",
    [
        b'{"url": "u", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"url": ' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}",
        b'{"url": "u"',
        b'{"url": "u"} x',
        b'{"url": "a\tb"}',
        b'{"url": "\\x41"}',
        b'{"url": "\\u00"}',
        b"{'url': 'u'}",
        b'{"url": "u",}',
        b'{"url": "\xed\xa0\x80"}',
        b"[]",
        b'"url"',
        b"nan",
        b"\0",
    ],
)
def test_what_is_no_object_is_counted_and_the_next_one_read(line: bytes) -> None:
    found, counts = objects(line + b'\n\xef\xbb\xbf{"url": "v"}\n')
    assert (found, counts) == ([{"url": "v"}], {"records_damaged": 1})
