from __future__ import annotations

import gzip
import io
from collections import Counter

import pytest

from datagen.sources import compressed, warc
from datagen.sources.warc import read_records
from helpers.wat import member, plain_record

BODIES = [b"a needle", b"hay", b"", b"\r\n\r\nneedle\r\n\r\nWARC/1.0\r\n\r\n", b"needle" * 30]
FOUND = [body for body in BODIES if b"needle" in body]


def read(data: bytes) -> tuple[list[tuple[int, bytes]], Counter[str]]:
    counts: Counter[str] = Counter()
    records = read_records("x", io.BytesIO(data), b"needle", counts, lambda header: None)
    return [(record.offset, bytes(record.body)) for record in records], counts


def blocks(data: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(data[start : start + size]) for start in range(0, len(data), size))


@pytest.mark.parametrize("read_bytes", [10, 33, 1 << 20])
def test_records_are_found_however_they_are_packed(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr(compressed, "READ_BYTES", read_bytes)
    plain = b"".join(plain_record(b"", body) for body in BODIES)
    packed = b"".join(member(b"", body) for body in BODIES)
    for data in (plain, packed, gzip.compress(plain), blocks(plain, 50)):
        found, counts = read(data)
        assert [body for _, body in found] == FOUND
        assert counts == {"records": len(BODIES)}


def test_the_offset_is_of_the_member_or_the_plain_record() -> None:
    plain, packed = [plain_record(b"", body) for body in BODIES], [member(b"", body) for body in BODIES]
    for parts in (plain, packed):
        starts = [sum(map(len, parts[:number])) for number in range(len(parts))]
        offsets = [offset for offset, _ in read(b"".join(parts))[0]]
        expected = [start for start, body in zip(starts, BODIES, strict=True) if body in FOUND]
        assert offsets == expected


def test_a_wrong_length_loses_one_record_of_members_and_few_of_a_plain_file() -> None:
    wrong = b"WARC/1.0\r\nContent-Length: 3\r\n\r\na longer needle\r\n\r\n"
    missing = b"WARC/1.0\r\nContent-Type: x\r\n\r\nneedle\r\n\r\n"
    for bad in (wrong, missing, b"no record, a needle\r\n\r\n"):
        found, counts = read(plain_record(b"", b"needle 1") + bad + plain_record(b"", b"needle 2"))
        assert [body for _, body in found] == [b"needle 1", b"needle 2"]
        assert counts["records_damaged"] == 1
    too_long = gzip.compress(b"WARC/1.0\r\nContent-Length: 999\r\n\r\nneedle\r\n\r\n")
    found, counts = read(member(b"", b"needle 1") + too_long + member(b"", b"needle 2"))
    assert [body for _, body in found] == [b"needle 1", b"needle 2"]
    assert counts["records_damaged"] == 1


def test_a_plain_file_that_breaks_off_says_so() -> None:
    data = plain_record(b"", b"needle 1") + plain_record(b"", b"needle 2")[:-10]
    found, counts = read(data)
    assert [body for _, body in found] == [b"needle 1"]
    assert counts == {"records": 1, "files_truncated": 1}


def test_headers_may_end_their_lines_without_carriage_returns() -> None:
    records = [plain_record(b"", body) for body in (b"needle 1", b"hay", b"needle 2")]
    bare = [record.replace(b"\r\n", b"\n") for record in records]
    for data in (b"".join(bare), b"".join(map(gzip.compress, bare)), bare[0] + records[1] + bare[2]):
        found, counts = read(data)
        assert [body for _, body in found] == [b"needle 1", b"needle 2"]
        assert counts == {"records": 3}


def test_the_first_headers_are_checked_whatever_they_hold() -> None:
    seen: list[bytes] = []
    plain = [plain_record(b"X-Number: %d\r\n" % number, b"hay") for number in range(20)]
    for parts in (plain, [gzip.compress(part) for part in plain]):
        seen.clear()
        assert list(read_records("x", io.BytesIO(b"".join(parts)), b"needle", Counter(), seen.append)) == []
        assert len(seen) == warc.FIRST_RECORDS
        assert all(b"X-Number: %d\r\n" % number in header for number, header in enumerate(seen))


@pytest.mark.parametrize("length", [b"99999999999999", b"9" * 5000, b"-1", b"1e3", b""])
def test_a_record_longer_than_any_is_damaged_and_the_next_one_read(length: bytes) -> None:
    bad = b"WARC/1.0\r\nContent-Length: " + length + b"\r\n\r\nneedle\r\n\r\n"
    found, counts = read(plain_record(b"", b"needle 1") + bad + plain_record(b"", b"needle 2"))
    assert [body for _, body in found] == [b"needle 1", b"needle 2"]
    assert counts == {"records": 2, "records_damaged": 1}


def test_a_header_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "MAX_HEADER_BYTES", 200)
    monkeypatch.setattr(compressed, "READ_BYTES", 100)
    found, counts = read(b"WARC/1.0\r\nX: " + b"x" * 1000 + b"\r\n\r\n" + plain_record(b"", b"needle"))
    assert [body for _, body in found] == [b"needle"]
    assert counts["records_damaged"] > 0
