from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.photographs import encoded, photograph, turned
from helpers.shards import jpeg
from models.preprocess import resize_and_crop
from openwit.errors import InputError
from train.data.decode import crop_square, decode_carefully, decode_resized


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def either(decode: Any, data: bytes, resize_px: int = 32) -> Any:
    """What a decoder makes of it: pixels, or None where it is refused."""
    try:
        return decode(data, resize_px)
    except InputError:
        return None


@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 97), (64, 64), (40, 30), (1, 9)])
def test_the_shorter_side_is_what_was_asked(height: int, width: int) -> None:
    pixels = decode_resized(jpeg(smooth(height, width)), 64)
    assert min(pixels.shape[:2]) == 64
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([7, 32, 64, 224]), st.booleans(), st.integers(0, 2))
def test_the_fast_way_gives_the_pixels_of_pillow(
    height: int, width: int, resize_px: Any, reduced: Any, subsampling: int
) -> None:
    data = encoded(photograph(height, width), subsampling=subsampling)
    fast, plain = (decode(data, resize_px, reduced).astype(int) for decode in (decode_resized, decode_carefully))
    assert fast.shape == plain.shape
    if height <= 2 * width:  # Pillow resizes tall ones the other way round
        assert np.abs(fast - plain).mean() < 0.04


@pytest.mark.parametrize(("height", "width"), [(300, 400), (900, 200), (97, 401)])
def test_the_fast_way_is_as_near_to_the_exact_resize_as_pillow(height: int, width: int) -> None:
    data = encoded(photograph(height, width), subsampling=0)
    whole = decode_carefully(data, min(height, width)).copy()
    fast, plain = decode_resized(data, 64, reduced=False), decode_carefully(data, 64, reduced=False)
    exact_BCHW = torch.from_numpy(whole)[None].permute(0, 3, 1, 2).double()
    exact_BCHW = F.interpolate(exact_BCHW, fast.shape[:2], mode="bicubic", antialias=True).clamp(0, 255)
    exact = exact_BCHW[0].permute(1, 2, 0).numpy()
    assert np.abs(fast - exact).mean() <= np.abs(plain - exact).mean() + 0.01


def test_reduced_decoding_is_as_near_to_the_full_one_as_one_grey_level() -> None:
    data = jpeg(smooth(600, 600))
    full = resize_and_crop(Image.open(io.BytesIO(data)), 64).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(decode_resized(data, 64).astype(int) - full).mean() < 1


def test_decoding_is_reduced_where_twice_the_pixels_are_left_and_only_if_allowed() -> None:
    whole = {px: decode_resized(encoded(photograph(512, 512)), px, reduced=False) for px in (64, 128, 129)}
    reduced = {px: decode_resized(encoded(photograph(512, 512)), px) for px in (64, 128, 129)}
    assert [px for px in whole if np.array_equal(whole[px], reduced[px])] == [129]


@pytest.mark.parametrize("kind", ["grey", "CMYK", "progressive", "PNG", "16-bit PNG", "WebP", "transparent PNG"])
def test_other_images_look_as_pillow_shows_them(kind: str) -> None:
    image = photograph(120, 160)
    data = {
        "grey": lambda: encoded(image.convert("L")),
        "CMYK": lambda: encoded(image.convert("CMYK")),
        "progressive": lambda: encoded(image, progressive=True),
        "PNG": lambda: encoded(image, "PNG"),
        "16-bit PNG": lambda: encoded(Image.fromarray(smooth(120, 160)[..., 0].astype(np.uint16) << 8), "PNG"),
        "WebP": lambda: encoded(image, "WEBP"),
        "transparent PNG": lambda: encoded(image.convert("RGBA"), "PNG"),
    }[kind]()
    assert np.abs(decode_resized(data, 64).astype(int) - decode_carefully(data, 64)).mean() < 0.04


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation: int) -> None:
    data = turned(photograph(96, 160), orientation)
    assert decode_resized(data, 48).shape == ((48, 80, 3) if orientation < 5 else (80, 48, 3))
    assert np.abs(decode_resized(data, 48).astype(int) - decode_carefully(data, 48)).mean() < 0.04


def test_notes_behind_a_colour_profile_turn_the_image_too() -> None:
    data = turned(photograph(96, 160), 6)
    start = data.index(b"\xff\xe1")
    profile = b"\xff\xe2" + (2 + 9000).to_bytes(2, "big") + bytes(9000)
    assert decode_resized(data[:start] + profile + data[start:], 48).shape == (80, 48, 3)


def test_what_is_no_image_is_refused() -> None:
    data = jpeg(smooth(64, 64))
    for broken in (b"", b"<html>", data[: len(data) // 2]):
        with pytest.raises(InputError, match="not a readable image"):
            decode_resized(broken, 64)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_anywhere_is_refused(progressive: bool) -> None:
    data = encoded(photograph(60, 80), progressive=progressive)
    for length in {*range(0, len(data) - 2, 37), len(data) - 3, len(data) - 10}:
        assert either(decode_resized, data[:length]) is None, length


def test_of_damaged_jpegs_those_are_refused_that_pillow_refuses() -> None:
    random, data = np.random.default_rng(0), np.frombuffer(encoded(photograph(60, 80)), np.uint8)
    refused = 0
    for number in range(400):
        damaged = data.copy()
        damaged[random.integers(0, 700 if number % 2 else len(data), 3)] = random.integers(0, 256, 3)
        fast, plain = (either(decode, damaged.tobytes()) for decode in (decode_resized, decode_carefully))
        assert (fast is None) == (plain is None), number
        refused += plain is None
        if fast is not None and plain is not None and plain.shape[0] <= 2 * plain.shape[1]:
            assert np.abs(fast.astype(int) - plain).mean() < 0.04
    assert refused > 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads by /proc")
def test_decoding_starts_no_threads_which_would_fight_those_of_other_lanes() -> None:
    data, before = jpeg(smooth(1500, 2000)), torch.get_num_threads()
    numbers: list[int] = []

    def decode() -> None:
        torch.set_num_threads(4)
        numbers.append(len(os.listdir("/proc/self/task")))
        decode_resized(data, 512, reduced=False)
        numbers.append(len(os.listdir("/proc/self/task")))

    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert numbers[0] == numbers[1]


def test_every_place_of_the_crop_is_reached_and_none_beyond() -> None:
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    seen = {int(crop_square(pixels, 3, top | left << 32)[0, 0, 0]) for top in range(9) for left in range(9)}
    assert seen == {int(pixels[top, left, 0]) for top in range(4) for left in range(2)}
