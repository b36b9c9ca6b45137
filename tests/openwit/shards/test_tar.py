from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.shards import add_member
from train.memory import MemberMemory
from train.order import draw
from train.tars import BLOCK, TarSample, Unusable, _is_sum, read_samples


def tar_of(samples, format=tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for key, members in samples:
            for extension, content in members.items():
                add_member(tar, f"{key}.{extension}", content)
    return buffer.getvalue()


def samples_of(data: bytes, start: int = 0):
    return list(read_samples(io.BytesIO(data), start))


PAIRS = [(f"{n:04d}", {"jpg": bytes([n]) * (1400 * n), "txt": b"a caption", "json": b"{}"}) for n in range(5)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_what_tarfile_wrote_in_any_format_also_with_long_names(format):
    folder = "f" * 90 + "/" + "g" * 60
    pairs = [(f"{folder}/{key}", members) for key, members in PAIRS]
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert samples_of(tar_of(pairs, format)) == expected


def test_the_first_use_of_a_sample_draws_by_its_key_and_each_further_one_by_its_own_mark():
    marks = [TarSample("k", {}, copy).mark for copy in range(3)]
    assert marks[0] == "k"
    assert len({draw("crop", 0, 0, mark) for mark in marks}) == 3


def test_larger_members_lie_in_lent_memory_and_say_the_same():
    pairs = [(f"{n:04d}", {"jpg": draw("x", n).to_bytes(8, "little") * (600 * n), "txt": b"words"}) for n in range(5)]
    samples = list(read_samples(io.BytesIO(tar_of(pairs)), 0, MemberMemory()))
    assert samples == [TarSample(key, members) for key, members in pairs]
    assert [type(sample.members["jpg"]) for sample in samples] == [bytes, *[memoryview] * 4]


@pytest.mark.parametrize("start", range(6))
def test_it_starts_at_any_sample(start):
    assert samples_of(tar_of(PAIRS), start) == [TarSample(key, members) for key, members in PAIRS[start:]]


def test_an_empty_archive_has_no_samples_and_an_empty_file_is_broken():
    assert samples_of(tar_of([])) == []
    (only,) = samples_of(b"")
    assert isinstance(only, Unusable)
    assert only.reason == "tar"


@settings(deadline=None)
@given(st.integers(0, 20_000), st.booleans())
def test_a_tar_cut_anywhere_gives_whole_samples_then_its_damage(length, is_lent):
    data = tar_of(PAIRS)
    memory = MemberMemory() if is_lent else None
    *whole, last = read_samples(io.BytesIO(data[:length] if length < 14_000 else data), 0, memory)
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert whole == expected[: len(whole)]
    assert isinstance(last, Unusable) == (length < 14_000)


@settings(deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_header_of_which_one_byte_is_wrong_is_damage(place, change):
    data = bytearray(tar_of(PAIRS))
    (at,) = (n for n in range(0, len(data), BLOCK) if data[n:].startswith(b"0002.jpg"))
    data[at + place] ^= change
    if 148 <= place < 156:  # the sum itself, which may be written in several ways
        return
    *whole, last = samples_of(bytes(data))
    assert whole == [TarSample(key, members) for key, members in PAIRS[:1]]  # the next may have lost a member
    assert last == Unusable("0001", "tar", f"no tar header at byte {at}")


@settings(deadline=None)
@given(st.binary(min_size=BLOCK, max_size=BLOCK) | st.integers(0, 255).map(lambda byte: bytes([byte]) * BLOCK))
def test_the_quick_sum_of_a_header_is_the_plain_one(block):
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    assert _is_sum(total, block)
    assert not any(_is_sum(total + error, block) for error in (-255, -1, 1, 255))


def test_a_member_of_less_than_no_bytes_is_damage():
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"-0000001000\0"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * ord(" "))
    assert samples_of(bytes(header) * 3) == [Unusable("", "tar", "member of -512 bytes at byte 0")]


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_garbage_is_damage_and_never_an_error(data):
    items = samples_of(tar_of(PAIRS[:2])[: 512 * 4] + data)
    assert all(isinstance(item, TarSample | Unusable) for item in items)
