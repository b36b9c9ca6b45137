from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.shards import add_member
from openwit.shards.tar import (
    BLOCK,
    SIZES,
    BufferPool,
    PlainTar,
    TarSample,
    Unusable,
    _is_sum,
    header,
    members,
    read_samples,
)
from train.data.order import draw


def tar_of(samples: Any, format: Any = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for key, members in samples:
            for extension, content in members.items():
                add_member(tar, f"{key}.{extension}", content)
    return buffer.getvalue()


def samples_of(data: bytes, start: int = 0) -> Any:
    return list(read_samples(io.BytesIO(data), start))


PAIRS = [(f"{n:04d}", {"jpg": bytes([n]) * (1400 * n), "txt": b"a caption", "json": b"{}"}) for n in range(5)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_what_tarfile_wrote_in_any_format_also_with_long_names(format: Any) -> None:
    folder = "f" * 90 + "/" + "g" * 60
    pairs = [(f"{folder}/{key}", members) for key, members in PAIRS]
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert samples_of(tar_of(pairs, format)) == expected


def test_the_first_use_of_a_sample_draws_by_its_key_and_each_further_one_by_its_own_mark() -> None:
    marks = [TarSample("k", {}, copy).mark for copy in range(3)]
    assert marks[0] == "k"
    assert len({draw("crop", 0, 0, mark) for mark in marks}) == 3


def test_larger_members_lie_in_buffers_of_the_pool_and_say_the_same() -> None:
    pairs = [(f"{n:04d}", {"jpg": draw("x", n).to_bytes(8, "little") * (600 * n), "txt": b"words"}) for n in range(5)]
    samples = list(read_samples(io.BytesIO(tar_of(pairs)), 0, BufferPool()))
    assert samples == [TarSample(key, members) for key, members in pairs]
    assert [type(sample.members["jpg"]) for sample in samples] == [bytes, *[memoryview] * 4]


@pytest.mark.parametrize("start", range(6))
def test_it_starts_at_any_sample(start: int) -> None:
    assert samples_of(tar_of(PAIRS), start) == [TarSample(key, members) for key, members in PAIRS[start:]]


def test_an_empty_archive_has_no_samples_and_an_empty_file_is_broken() -> None:
    assert samples_of(tar_of([])) == []
    (only,) = samples_of(b"")
    assert isinstance(only, Unusable)
    assert only.reason == "tar"


@settings(deadline=None)
@given(st.integers(0, 20_000), st.booleans())
def test_a_tar_cut_anywhere_gives_whole_samples_then_its_damage(length: int, is_pooled: Any) -> None:
    data = tar_of(PAIRS)
    pool = BufferPool() if is_pooled else None
    *whole, last = read_samples(io.BytesIO(data[:length] if length < 14_000 else data), 0, pool)
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert whole == expected[: len(whole)]
    assert isinstance(last, Unusable) == (length < 14_000)


@settings(deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_header_of_which_one_byte_is_wrong_is_damage(place: int, change: int) -> None:
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
def test_the_quick_sum_of_a_header_is_the_plain_one(block: Any) -> None:
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    assert _is_sum(total, block)
    assert not any(_is_sum(total + error, block) for error in (-255, -1, 1, 255))


def test_a_member_of_less_than_no_bytes_is_damage() -> None:
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"-0000001000\0"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * ord(" "))
    assert samples_of(bytes(header) * 3) == [Unusable("", "tar", "member of -512 bytes at byte 0")]


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_garbage_is_damage_and_never_an_error(data: Any) -> None:
    items = samples_of(tar_of(PAIRS[:2])[: 512 * 4] + data)
    assert all(isinstance(item, TarSample | Unusable) for item in items)


CONTENTS = st.lists(st.binary(max_size=1500), max_size=30)


def written(contents: list[bytes]) -> bytes:
    stream = io.BytesIO()
    tar = PlainTar(stream)
    for number, content in enumerate(contents):
        tar.add(f"{number:09d}.jpg", content)
    tar.close()
    return stream.getvalue()


@given(CONTENTS)
def test_the_bytes_are_those_that_tarfile_writes(contents: list[bytes]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"{number:09d}.jpg")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    assert written(contents) == stream.getvalue()


@given(CONTENTS)
def test_members_are_found_where_they_were_written(contents: list[bytes]) -> None:
    data = written(contents)
    found = list(members(io.BytesIO(data)))
    assert [name for name, _, _ in found] == [f"{number:09d}.jpg" for number in range(len(contents))]
    assert [data[start : start + num_bytes] for _, start, num_bytes in found] == contents


def test_a_samples_members_stand_in_the_order_of_their_extensions() -> None:
    stream = io.BytesIO()
    tar = PlainTar(stream)
    tar.write({"__key__": "000070000", "txt": "eine Straße", "jpg": b"\xff\xd8", "json": "{}"})
    tar.close()
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as read:
        found = {member.name: read.extractfile(member).read() for member in read}
    assert list(found) == ["000070000.jpg", "000070000.json", "000070000.txt"]
    assert found["000070000.txt"] == "eine Straße".encode()


def test_what_needs_more_than_a_plain_header_is_refused() -> None:
    for name, num_bytes in (("n" * 101, 1), ("ä.jpg", 1), ("a.jpg", 8**11)):
        with pytest.raises(ValueError, match=r"not a plain member|ascii"):
            header(name, num_bytes)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.jpg")
        member.mtime = 0.5
        tar.addfile(member)
    with pytest.raises(ValueError, match="at byte 0 stands no plain member"):
        list(members(io.BytesIO(stream.getvalue())))


@given(st.lists(st.tuples(st.integers(SIZES.start, SIZES.start * 8), st.booleans()), max_size=60))
def test_a_buffer_that_was_not_released_is_never_given_again(requests: Any) -> None:
    pool, kept = BufferPool(), {}
    for number, (num_bytes, is_kept) in enumerate(requests):
        buffer = pool.acquire(num_bytes)
        assert len(buffer) == num_bytes
        buffer[:] = bytes([number]) * num_bytes
        if is_kept:
            kept[number] = buffer
        else:
            pool.release(buffer)
    assert all(buffer == bytes([number]) * len(buffer) for number, buffer in kept.items())


def test_a_released_buffer_is_given_again_to_the_next_of_nearly_its_size() -> None:
    pool = BufferPool()
    first = pool.acquire(5000)
    place = first.obj
    pool.release(first)
    assert pool.acquire(9000).obj is not place
    assert pool.acquire(8000).obj is place
    assert pool.acquire(8000).obj is not place


def test_reading_what_was_taken_back_is_an_error() -> None:
    pool = BufferPool()
    buffer = pool.acquire(5000)
    pool.release(buffer)
    with pytest.raises(ValueError, match="released"):
        buffer[0]
