from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.shards.tar import BLOCK, SIZES, BufferPool, PlainTar, _is_sum, header, members, resized_header


@settings(deadline=None)
@given(st.binary(min_size=BLOCK, max_size=BLOCK) | st.integers(0, 255).map(lambda byte: bytes([byte]) * BLOCK))
def test_the_quick_sum_of_a_header_is_the_plain_one(block: Any) -> None:
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    assert _is_sum(total, block)
    assert not any(_is_sum(total + error, block) for error in (-255, -1, 1, 255))


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
        found = {member.name: read.extractfile(member).read() for member in read}  # type: ignore[union-attr]
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


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.txt", "ä" * 80 + ".txt"])
def test_a_header_for_other_contents_says_all_else_as_before(form: Any, name: Any) -> None:
    if form == tarfile.USTAR_FORMAT and len(name.encode()) > 100:
        name = "f" * 90 + "/" + name[-20:]
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.uname = 3, 0o600, 1_700_000_000, "me"
    content = b"other words" * 100
    new = resized_header(info.tobuf(form), name, len(content))
    tar = new + content + bytes(-len(content) % BLOCK + 2 * BLOCK)
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        (read,) = opened.getmembers()
        assert opened.extractfile(read).read() == content  # type: ignore[union-attr]
    assert (read.name, read.mode, read.mtime, read.uname) == (name, 0o600, 1_700_000_000, "me")


def test_a_header_whose_size_a_pax_record_tells_tells_the_new_one() -> None:
    info = tarfile.TarInfo("a.txt")
    info.size, info.pax_headers = 3, {"size": "3"}
    new = resized_header(info.tobuf(tarfile.PAX_FORMAT), "a.txt", 5)
    with tarfile.open(fileobj=io.BytesIO(new + b"words".ljust(BLOCK, b"\0") + bytes(2 * BLOCK))) as opened:
        assert opened.extractfile("a.txt").read() == b"words"  # type: ignore[union-attr]
