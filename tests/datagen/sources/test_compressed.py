from __future__ import annotations

import gzip
import io
import random
from collections import Counter
from collections.abc import Callable

import pytest
import zstandard

from datagen.sources import compressed
from datagen.sources.compressed import GZIP_MAGIC, open_pieces
from openwit.errors import InputError

NOISE = random.Random(0).randbytes(5000)


def pieces(data: bytes) -> tuple[list[tuple[int, bytes | None]], Counter[str]]:
    counts: Counter[str] = Counter()
    return list(open_pieces("x", io.BytesIO(data), counts)[1]), counts


@pytest.mark.parametrize("read_bytes", [10, 33, 1 << 20])
def test_members_come_whole_at_any_size_of_reads(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr(compressed, "READ_BYTES", read_bytes)
    texts = [b"one" * 50, b"", GZIP_MAGIC * 30, NOISE[:300]]
    found, counts = pieces(b"".join(gzip.compress(text) for text in texts))
    assert b"".join(piece or b"" for _, piece in found) == b"".join(texts)
    assert not counts


def test_a_piece_carries_the_offset_of_its_member() -> None:
    one, two = gzip.compress(b"one"), gzip.compress(b"two")
    assert pieces(one + two)[0] == [(0, b"one"), (len(one), b"two")]
    assert pieces(b"plain")[0] == [(0, b"plain")]


def test_the_look_of_a_member_inside_another_cuts_nothing() -> None:
    stored = gzip.compress(GZIP_MAGIC + b"\0" * 7 + NOISE + GZIP_MAGIC + NOISE, compresslevel=0)
    found, _ = pieces(stored + gzip.compress(b"two"))
    assert b"".join(piece or b"!" for _, piece in found).endswith(NOISE + b"two")


@pytest.mark.parametrize("read_bytes", [50, 1 << 20])
@pytest.mark.parametrize("place", [0, 2, 3, 30, -1, -5])
def test_damage_stays_in_its_member(monkeypatch: pytest.MonkeyPatch, place: int, read_bytes: int) -> None:
    monkeypatch.setattr(compressed, "READ_BYTES", read_bytes)
    damaged = bytearray(gzip.compress(b"two" + NOISE[:200]))
    damaged[place] ^= 0x5F
    found, counts = pieces(gzip.compress(b"one") + bytes(damaged) + gzip.compress(b"three") + gzip.compress(b"four"))
    assert [piece for _, piece in found].count(None) == 1
    assert [piece for _, piece in found][-1] == b"four"
    assert found[0] == (0, b"one")
    assert not counts


def test_of_a_file_that_breaks_off_all_before_is_given_and_counted() -> None:
    text = random.Random(1).randbytes(1_000_000)
    for packed in (gzip.compress(text), zstandard.compress(text)):
        found, counts = pieces(packed[:-100_000])
        given = b"".join(piece or b"!" for _, piece in found)
        assert text.startswith(given)
        assert len(given) > len(text) * 0.8
        assert counts == {"files_truncated": 1}


def test_zstd_frames_are_read_up_to_damage() -> None:
    one, two = zstandard.compress(b"one"), zstandard.compress(b"two" * 100)
    assert pieces(one + two) == ([(0, b"one"), (len(one), b"two" * 100)], {})
    assert pieces(one + b"no frame")[0] == [(0, b"one"), (len(one), None)]


def test_a_file_that_cannot_be_read_further_is_an_error_and_not_its_end() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError("connection lost")
            return super().read(10)

    with pytest.raises(InputError, match=r"x: cannot be read .*connection lost"):
        list(open_pieces("x", Broken(gzip.compress(b"one")), Counter())[1])


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_few_bytes_that_stand_for_many_come_in_bounded_pieces(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(compressed, "MAX_PIECE_BYTES", 1 << 17)
    text = b"x" * 5_000_000 + NOISE
    data = pack(text) + pack(b"two")
    found, counts = pieces(data)
    assert b"".join(piece or b"!" for _, piece in found) == text + b"two"
    assert max(len(piece or b"") for _, piece in found) <= 1 << 17
    assert {offset for offset, _ in found} == {0, len(pack(text))}
    assert not counts
