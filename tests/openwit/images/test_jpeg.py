from __future__ import annotations

import numpy as np
import pytest

from helpers import hostile_images as hostile
from helpers.photographs import encoded, photograph, turned
from openwit.images import ImageError, decode
from openwit.images.jpeg import read_header

FILES = {"baseline": hostile.JPEG, "progressive": hostile.PROGRESSIVE}


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data)
    return caught.value.reason


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("end", [b"", hostile.END])
def test_a_jpeg_cut_short_is_truncated_whatever_stands_at_its_end(kind: str, share: float, end: bytes) -> None:
    data = FILES[kind]
    assert refused(data[: int(share * len(data))] + end) == "image_truncated"


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_ones_and_inks_cut_short_are_truncated_too(mode: str) -> None:
    data = encoded(photograph(120, 160).convert(mode))
    assert refused(data[: len(data) // 2] + hostile.END) == "image_truncated"


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = hostile.PROGRESSIVE
    last = data.rindex(hostile.START_OF_SCAN)
    assert refused(data[: data.rindex(b"\xff\xc4", 0, last)] + hostile.END) == "image_truncated"


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_jpeg_is_kept_without_its_end_and_with_anything_behind_it(kind: str) -> None:
    data = FILES[kind]
    whole = hostile.shown(data)
    for odd in (data[:-2], hostile.motion_photo(data), data[:-2] + b"\xff", data + bytes(1000)):
        assert np.abs(decode(odd).astype(int) - whole).max() <= 1


def test_damage_before_the_last_row_is_no_truncation_but_damage_that_leaves_none_is() -> None:
    data, start = hostile.JPEG, hostile.JPEG.index(hostile.START_OF_SCAN)
    junk = data[:start] + b"junk" + data[start:]  # libjpeg passes over it, and says so
    assert np.abs(decode(junk).astype(int) - hostile.shown(data)).max() <= 1
    assert refused(junk[: len(junk) // 2] + hostile.END) == "image_truncated"
    stray = data[: start + 400] + b"\xff\xd0" + data[start + 400 :]
    assert refused(stray) == "image_truncated"  # all behind the marker would be grey


def test_scans_are_those_of_the_image_not_of_its_thumbnail_or_of_what_follows() -> None:
    assert read_header(hostile.thumbnail_in_exif()).num_scans == 1
    assert read_header(hostile.motion_photo(hostile.JPEG)).num_scans == 1
    assert 1 < read_header(hostile.motion_photo(hostile.PROGRESSIVE)).num_scans <= 12
    assert np.array_equal(decode(hostile.thumbnail_in_exif()), decode(hostile.JPEG))


def test_a_header_tells_size_orientation_and_a_profile_in_parts() -> None:
    header = read_header(turned(photograph(30, 40), 6))
    assert (header.size, header.upright_size, header.orientation) == ((40, 30), (30, 40), 6)
    profile = bytes(range(256)) * 400  # more than one segment holds
    assert read_header(encoded(photograph(30, 40), icc_profile=profile)).profile == profile
    assert read_header(hostile.JPEG).profile is None


def test_notes_are_left_out_of_what_the_plain_twin_is_given() -> None:
    header = read_header(hostile.jpeg_with(b"\xff\xe1\0\x08Exif\0\0" * 9 + b"\xff\xfe\0\4hi"))
    assert b"Exif" not in header.without_notes()
    assert np.array_equal(hostile.shown(header.without_notes()), hostile.shown(hostile.JPEG))


def test_segments_of_no_length_and_frames_of_no_components_end_in_the_one_error() -> None:
    frame = hostile.JPEG.index(b"\xff\xc0")
    assert refused(hostile.JPEG[:frame] + b"\xff\xc4\0\0" * 5000 + hostile.START_OF_SCAN) == "image_truncated"
    bare = bytearray(hostile.JPEG)
    bare[frame + 9], bare[hostile.JPEG.index(hostile.START_OF_SCAN) + 4] = 0, 0
    assert refused(bytes(bare)) == "image_undecodable"
    chain = hostile.JPEG[:2] + b"\xff\xe0\0\0x" * 9000 + hostile.JPEG[2:]  # junk between all of them
    assert np.abs(decode(chain).astype(int) - hostile.shown(hostile.JPEG)).max() <= 1
