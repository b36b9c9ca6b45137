"""`decode` at the edges; what every caller sees of upright, transparent, deep and profiled images: tests/golden."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from helpers import hostile_images as hostile
from helpers.icc_profiles import wide_profile
from helpers.odd_images import OddImage, odd_images
from helpers.photographs import encoded, photograph
from helpers.places import CASES
from openwit.errors import InputError
from openwit.images import DecodingLimits, ImageError, decode, decode_reduced
from openwit.images.decode import finish, load, load_plain
from openwit.images.reading import read_header

ANY_IMAGES = odd_images()


def refused(data: bytes) -> str:
    """The word for which it is refused."""
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert isinstance(caught.value, InputError)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"not a readable image ({len(data)} bytes): ")
    return caught.value.reason


@pytest.mark.parametrize("image", ANY_IMAGES, ids=lambda image: image.name)
def test_the_quick_decoders_and_their_plain_twin_agree(image: OddImage) -> None:
    quick, plain = (finish(way(read_header(image.data)), read_header(image.data)) for way in (load, load_plain))
    assert np.abs(quick.astype(int) - plain).max() <= 2


def test_a_profile_is_judged_by_what_it_does_and_not_by_its_name() -> None:
    flat = Image.new("RGB", (8, 8), (60, 50, 55))
    shown = {
        name: decode(encoded(flat, "PNG", icc_profile=wide_profile(1.0, name)))[0, 0].tolist()
        for name in ("made", "Linear sRGB", "sRGB-elle-g10", "not sRGB")
    }
    assert shown["made"][0] > 100  # linear light, and wider primaries
    assert all(colours == shown["made"] for colours in shown.values())
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(flat, "PNG", icc_profile=own))[0, 0].tolist() == [60, 50, 55]


def test_inks_are_inverted_with_and_without_adobes_mark() -> None:
    data = encoded(Image.new("RGB", (16, 16), (60, 50, 55)).convert("CMYK"), quality=100)
    mark = data.index(b"\xff\xee")
    bare = data[:mark] + data[mark + 2 + int.from_bytes(data[mark + 2 : mark + 4], "big") :]
    for found in (decode(data), decode(bare), finish(load_plain(read_header(bare)), read_header(bare))):
        assert np.abs(found.astype(int) - (60, 50, 55)).max() <= 3


def test_jfif_says_the_colours_where_adobes_mark_contradicts_it() -> None:
    data = encoded(Image.new("RGB", (16, 16), (60, 50, 55)), quality=100)
    end = 4 + int.from_bytes(data[4:6], "big")
    both = data[:end] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[end:]
    for found in (decode(both), finish(load_plain(read_header(both)), read_header(both))):
        assert np.abs(found.astype(int) - (60, 50, 55)).max() <= 3


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_at_reduced_scale_is_what_the_plain_twin_makes(mode: str, factor: int) -> None:
    data = encoded(photograph(203, 317).convert(mode), quality=95)
    header = read_header(data)
    quick, plain = (finish(way(header, factor), header).astype(int) for way in (load, load_plain))
    assert quick.shape == plain.shape == (-(-203 // factor), -(-317 // factor), 3)
    assert np.abs(quick - plain).mean() <= 0.5


@pytest.mark.parametrize(("least_px", "height"), [(301, 600), (300, 300), (151, 300), (150, 150), (75, 75), (10, 75)])
def test_a_jpeg_keeps_the_pixels_that_are_asked_for_and_few_more(least_px: int, height: int) -> None:
    assert decode_reduced(encoded(photograph(600, 800)), least_px).shape == (height, height * 4 // 3, 3)
    assert decode_reduced(encoded(photograph(600, 800), "PNG"), least_px).shape == (600, 800, 3)


WHOLE = {
    "a png's text of 20 MB": hostile.large_text(b"zTXt"),
    "a png's international text": hostile.large_text(b"iTXt"),
    "a png's profile of 20 MB": hostile.large_text(b"iCCP"),
    **{f"a damaged {name.decode()}": hostile.png_with(name, bytes(6), True) for name in (b"gAMA", b"tRNS", b"eXIf")},
    "a png without its end": hostile.PNG[:-12],
    "png with 20,000 texts": hostile.PNG[:33] + hostile.png_with(b"tEXt", b"a\0b")[33:48] * 20_000 + hostile.PNG[33:],
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_png_is_shown_whatever_its_chunks_without_pixels_hold(name: str) -> None:
    assert np.array_equal(decode(WHOLE[name]), np.asarray(hostile.IMAGE))


def test_a_gifs_notes_do_not_count_and_its_first_frame_lies_on_white() -> None:
    assert np.array_equal(decode(hostile.gif_with(b"\x21\xfe\1a\0" * 5000)), hostile.shown(hostile.GIF))
    small = bytearray(hostile.GIF)
    small[6:10] = (200).to_bytes(2, "little") * 2  # the screen is larger than the frame
    pixels = decode(bytes(small))
    assert pixels.shape == (200, 200, 3)
    assert (pixels[120:] == 255).all()
    assert np.array_equal(pixels[:120, :160], hostile.shown(hostile.GIF))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_bitmap_of_runs_shows_its_rows(bits: int) -> None:
    # from below: a run and one pixel left out; two pixels as they are, one of a run; a jump by two; the end
    runs = b"\3\x55\0\0" + b"\0\3" + (b"\1\2\3\0" if bits == 8 else b"\x12\x30") + b"\1\x77\0\0" + b"\0\2\2\0\2\x99\0\1"
    nines, sevens, fives = ((level >> 4 if bits == 4 else level) for level in (0x99, 0x77, 0x55))
    rows = [[0, 0, nines, nines], [1, 2, 3, sevens], [fives] * 3 + [0]]
    assert decode(hostile.bmp_of_runs((4, 3), runs, bits))[..., 0].tolist() == rows


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_an_avif_of_more_bits_is_as_bright(depth: int) -> None:
    pixels = np.full((16, 16, 3), 160 << depth - 8, np.uint8 if depth == 8 else np.uint16)
    written, data = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100])
    assert written
    assert np.abs(decode(data.tobytes()).astype(int) - 160).max() <= 1


def peak_bytes() -> int:
    return int(re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[0]) * 1024


BOMBS = {
    "gif of a huge frame": (hostile.gif_bomb(), "image_too_large"),
    "gif of comments": (hostile.gif_with(b"\x21\xfe" + b"\1a" * 2_000_000 + b"\0"), "image_undecodable"),
    "gif of many comments": (hostile.gif_with(b"\x21\xfe\1a\0" * 500_000), "image_undecodable"),
    "tiff of strips": (hostile.tiff_of_strips(2_500_000), "image_too_large"),
    "jpeg of notes": (hostile.jpeg_with(b"\xff\xe1\0\x08Exif\0\0" * 400_000), "image_undecodable"),
    "bmp of runs": (hostile.bmp_of_runs((7000, 7000), b"\1\5" * 2_000_000), "image_undecodable"),
    "png of zeros": (hostile.PNG[:16] + b"\0\0\xff\xff\0\0\xff\xff" + hostile.PNG[24:], "image_too_large"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_made_to_take_memory_or_time_is_refused_before_it_does(name: str) -> None:
    data, reason = BOMBS[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before, started = peak_bytes(), time.process_time()
    assert refused(data) == reason
    assert peak_bytes() - before < 100_000_000
    assert time.process_time() - started < 10


def test_a_tiffs_notes_of_any_length_are_passed_over() -> None:
    assert decode(hostile.tiff_of_rationals(500_000)).shape == (64, 64, 3)


def test_only_named_formats_are_opened_and_limits_are_the_callers() -> None:
    for kind in ("DDS", "ICO", "JPEG2000", "TGA", "PCX", "EPS"):
        assert refused(encoded(photograph(32, 32), kind)) == "image_undecodable"
    with pytest.raises(ImageError, match="160x120, the limit is 9999 pixels"):
        decode(hostile.PNG, DecodingLimits(max_pixels=9999))
    assert decode(encoded(photograph(32, 32), "PPM")).shape == (32, 32, 3)


def test_an_errors_text_steers_no_terminal() -> None:
    error = ImageError("image_undecodable", "a\x1b[31mb\nc\u202ed")
    assert error.detail == "a [31mb c d"
    assert "\x1b" not in str(error)


SHOWN_CASES = {  # file: shape
    "12_no_eoi.jpg": (200, 300, 3), "15_png_bad_crc_gAMA.png": (200, 300, 3), "15_png_icc_1.4MB.png": (200, 300, 3),
    "15_png_text_1.5MB.png": (200, 300, 3), "21_xmp_orientation.jpg": (200, 400, 3),
}  # fmt: skip


@pytest.mark.skipif(not (CASES / "data").exists(), reason=f"needs {CASES}")
def test_images_that_others_were_refused_are_shown() -> None:
    for name, shape in SHOWN_CASES.items():
        assert decode((CASES / "data" / name).read_bytes()).shape == shape, name
    with_thumbnail, without = (CASES / "data" / f"14_thumbnail_444{end}.jpg" for end in ("", "_without"))
    small = decode_reduced(with_thumbnail.read_bytes(), 256)
    assert np.array_equal(small, decode_reduced(without.read_bytes(), 256))
    assert refused((CASES / "suites/bomb_open.gif").read_bytes()) == "image_too_large"
    assert refused((CASES / "suites/pic_train_RuntimeError_avif.bin").read_bytes()).startswith("image_")


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "PPM")
FILES = {kind: encoded(photograph(48, 64), kind) for kind in KINDS}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    st.floats(0.5, 1),
)
def test_damage_ends_in_pixels_or_the_one_error(kind: str, damage: list[tuple[int, int]], kept: float) -> None:
    data = bytearray(FILES[kind])
    for place, value in damage:
        data[place % len(data)] = value
    reason, shape = "", (0, 0, 3)
    try:
        shape = decode(bytes(data[: int(kept * len(data))]), DecodingLimits(10**6)).shape
    except ImageError as error:
        reason = error.reason
    assert reason in ("", "image_undecodable", "image_truncated", "image_too_large")
    assert shape[2:] == (3,)


def test_pixels_may_be_written_to_and_lie_in_order() -> None:
    for image in ANY_IMAGES:
        pixels = decode(image.data)
        assert pixels.flags.writeable, image.name
        assert pixels.flags.c_contiguous, image.name


def test_a_view_of_memory_is_decoded_too() -> None:
    assert np.array_equal(decode(memoryview(hostile.PNG)), decode(hostile.PNG))
    assert Image.open(io.BytesIO(hostile.PNG)).size == (160, 120)
