from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from helpers.shards import jpeg
from models.preprocess import resize_and_crop
from openwit.errors import InputError
from train.images import crop_square, decode_resized


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 97), (64, 64), (40, 30), (1, 9)])
def test_the_shorter_side_is_what_was_asked(height, width):
    pixels = decode_resized(jpeg(smooth(height, width)), 64)
    assert min(pixels.shape[:2]) == 64
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


def test_reduced_decoding_is_as_near_to_the_full_one_as_one_grey_level():
    encoded = jpeg(smooth(600, 600))
    full = resize_and_crop(Image.open(io.BytesIO(encoded)), 64).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(decode_resized(encoded, 64).astype(int) - full).mean() < 1


def test_what_is_no_picture_is_refused():
    encoded = jpeg(smooth(64, 64))
    for broken in (b"", b"<html>", encoded[: len(encoded) // 2]):
        with pytest.raises(InputError, match="not a readable picture"):
            decode_resized(broken, 64)


def test_every_place_of_the_crop_is_reached_and_none_beyond():
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    seen = {int(crop_square(pixels, 3, top | left << 32)[0, 0, 0]) for top in range(9) for left in range(9)}
    assert seen == {int(pixels[top, left, 0]) for top in range(4) for left in range(2)}
