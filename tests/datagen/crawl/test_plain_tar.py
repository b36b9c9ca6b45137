from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.plain_tar import PlainTar, header, members

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
