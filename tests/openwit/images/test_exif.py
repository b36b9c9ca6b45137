from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openwit.images.exif import orientation, turn_upright


def note(turned: int, order: str = "<", prefix: bytes = b"Exif\0\0") -> bytes:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112], exif[0x011A] = "maker", turned, 1.5
    return prefix + exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientation_is_read_in_either_byte_order_with_or_without_the_name(order: str, prefix: bytes) -> None:
    assert [orientation(note(turned, order, prefix)) for turned in range(1, 9)] == list(range(1, 9))


@pytest.mark.parametrize("damaged", [b"", b"Exif\0\0", b"MM\0*", note(0), note(9), note(6)[:20], b"junk" + note(6)])
def test_where_nothing_readable_says_it_the_image_lies_as_it_is(damaged: bytes) -> None:
    assert orientation(damaged) == 1


@given(st.binary(max_size=200))
def test_any_bytes_give_an_orientation(data: bytes) -> None:
    assert orientation(b"II*\0" + data) in range(1, 9)


def test_pixels_are_turned_as_pillow_turns_them() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    transposed = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose
    for turned, method in transposed.items():
        expected = np.asarray(Image.fromarray(pixels).transpose(Image.Transpose(method)))
        assert np.array_equal(turn_upright(pixels, turned), expected), turned
    assert turn_upright(pixels, 1) is pixels
