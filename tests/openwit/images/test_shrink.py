# mypy: disable-error-code="arg-type, attr-defined, union-attr"
from __future__ import annotations

import io
import tarfile

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from helpers.places import SHARED
from openwit.errors import ImageError
from openwit.images.header import reduction
from openwit.images.reading import read_header
from openwit.images.shrink import REDUCING_GAP, Shrinker, carefully_scaled, encode_jpeg, reduction_to, resampled

REAL = SHARED / "openstax_photos.tar"


def photograph(width: int, height: int) -> Image.Image:
    """Soft shapes with a grain."""
    source = np.random.default_rng(1)
    coarse = source.integers(0, 256, (height // 24, width // 24, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.uint8(np.clip(soft + source.normal(0, 12, soft.shape), 0, 255)))


def page(width: int, height: int) -> Image.Image:
    """Black text on white."""
    image = Image.new("RGB", (width, height), "white")
    for top in range(0, height, 30):
        ImageDraw.Draw(image).text((10, top), "The quick brown fox jumps over the lazy dog 0123456789 " * 4, "black")
    return image


def rings(width: int, height: int) -> Image.Image:
    """Ever finer rings, in which a resizer that averages too little shows patterns of its own."""
    y, x = np.mgrid[:height, :width]
    wave = np.uint8(127.5 + 127.5 * np.cos((x * x + y * y) / width * 0.7))
    return Image.fromarray(wave).convert("RGB")


SHRINKER = Shrinker()  # one for all images, as in a worker
SCENES = {"photograph": photograph, "page": page, "rings": rings}


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def shrunk(data: bytes, wanted: tuple[int, int]) -> np.ndarray:
    """What the quick way gives; an array, for it was no other way that gave it."""
    pixels = SHRINKER.scaled(read_header(data), wanted)
    assert isinstance(pixels, np.ndarray)
    return pixels


def careful(data: bytes, wanted: tuple[int, int]) -> np.ndarray:
    return np.asarray(carefully_scaled(read_header(data), wanted)).astype(int)


def distance(pixels: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square, in levels of 255."""
    return float(np.sqrt(((pixels.astype(float) - truth) ** 2).mean()))


def judged(data: bytes, wanted: tuple[int, int]) -> dict[str, float]:
    """How far the quick way, the careful one and an average over areas lie from the full decode's Lanczos filter."""
    whole = opened(data).convert("RGB")
    truth = np.asarray(whole.resize(wanted, Image.Resampling.LANCZOS)).astype(float)
    quick = shrunk(data, wanted)
    assert quick.shape == truth.shape
    return {
        "quick": distance(quick, truth),
        "careful": distance(careful(data, wanted), truth),
        "areas": distance(cv2.resize(np.asarray(whole), wanted, interpolation=cv2.INTER_AREA), truth),
    }


@pytest.mark.parametrize("scene", SCENES)
def test_the_quick_way_is_as_near_to_the_truth_as_averaging_areas_and_the_careful_one_nearer(scene: str) -> None:
    ratios = []
    for width, height in ((1600, 1200), (1283, 961), (803, 602), (480, 361)):
        data = jpeg(SCENES[scene](width, height))
        for side in (60, 100, 256, 300):
            far = judged(data, (round(width * side / height), side))
            assert far["careful"] <= far["quick"] <= 1.4 * far["areas"], (width, side, far)
            ratios.append(far["quick"] / far["areas"])
    assert np.exp(np.mean(np.log(ratios))) <= 1.05


@pytest.mark.skipif(not REAL.exists(), reason=f"needs {REAL}")
def test_real_photographs_come_nearer_to_the_truth_than_by_averaging_areas() -> None:
    with tarfile.open(REAL) as tar:
        names = [member for member in tar.getmembers() if member.name.endswith(".jpg")][::40]
        photographs = [tar.extractfile(member).read() for member in names]
    for side in (50, 64, 109, 150):
        far = []
        for data in photographs:
            size = opened(data).size
            if opened(data).mode == "RGB" and min(size) > side:
                far.append(judged(data, tuple(round(length * side / min(size)) for length in size)))
        quick, areas = (np.median([one[way] for one in far]) for way in ("quick", "areas"))
        assert quick <= areas, (side, quick, areas)


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"keep_rgb": True}])
def test_all_kinds_of_colour_jpegs_give_the_careful_ways_pixels(options: dict[str, object]) -> None:
    data = jpeg(photograph(1000, 800), **options)
    for wanted in ((125, 100), (320, 256)):
        assert np.abs(shrunk(data, wanted) - careful(data, wanted)).mean() <= 1.5


def test_one_image_does_not_show_in_the_next_and_large_ones_find_memory_too() -> None:
    large, small = photograph(2000, 1500), page(640, 480)
    first = shrunk(jpeg(small), (160, 120))
    kept = first.copy()
    second = shrunk(jpeg(large), (1600, 1200))
    assert np.abs(second - careful(jpeg(large), (1600, 1200))).mean() <= 1.5
    shrunk(jpeg(photograph(640, 480)), (160, 120))
    assert (first == kept).all()
    assert (shrunk(jpeg(small), (160, 120)) == kept).all()


def test_grey_stays_grey() -> None:
    data = jpeg(photograph(1000, 800).convert("L"))
    pixels = shrunk(data, (320, 256))
    assert pixels.shape == (256, 320)
    assert np.abs(pixels - careful(data, (320, 256))).mean() <= 1.5


def test_a_spot_stays_where_it_is_when_half_a_pixel_is_left_over() -> None:
    width, height = 1009, 1013  # at 1/8, 126.125 by 126.625 pixels, which the decoder rounds up to 127
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).ellipse((860, 880, 980, 1000), fill=255)
    wanted = (52, 52)
    assert reduction_to(read_header(jpeg(image)), wanted) == 8
    pixels = shrunk(jpeg(image), wanted).astype(float)
    middle = [float((pixels * axis).sum() / pixels.sum()) + 0.5 for axis in np.mgrid[:52, :52]]
    assert middle == pytest.approx([940.5 / height * 52, 920.5 / width * 52], abs=0.03)


@given(st.tuples(st.integers(2, 5000), st.integers(2, 5000)), st.integers(1, 600))
def test_decoding_keeps_twice_what_is_wanted_and_never_much_more(size: tuple[int, int], side: int) -> None:
    wanted = tuple(max(1, round(length * side / min(size))) for length in size)
    factor = reduction(size, (REDUCING_GAP * wanted[0], REDUCING_GAP * wanted[1]))
    gap = min(length / aim for length, aim in zip(size, wanted, strict=True))
    assert factor in (1, 2, 4, 8)
    assert factor == 1 or gap / factor >= REDUCING_GAP
    assert factor == 8 or gap / (2 * factor) < REDUCING_GAP


@given(st.tuples(st.integers(3, 300), st.integers(3, 300)), st.floats(0.01, 0.99), st.sampled_from([1, 2, 4, 8]))
@example((129, 257), 0.5, 8)
def test_the_result_has_the_wanted_size_whatever_is_left_over(size: tuple[int, int], share: float, factor: int) -> None:
    decoded = [-(-length // factor) for length in size]
    extent = (size[0] / factor, size[1] / factor)
    wanted = tuple(max(1, int(length * share)) for length in extent)
    pixels = np.full((decoded[1], decoded[0], 3), 77, np.uint8)
    scaled = resampled(pixels, extent, wanted)
    assert scaled.shape == (wanted[1], wanted[0], 3)
    assert (scaled == 77).all()
    assert scaled.flags.c_contiguous


@given(st.integers(3, 20_000), st.booleans())
def test_a_jpeg_that_ends_early_is_refused_though_it_has_an_end(missing: int, progressive: bool) -> None:
    data = jpeg(photograph(320, 240), progressive=progressive)
    assert shrunk(data, (128, 96)).shape == (96, 128, 3)
    with pytest.raises(ImageError) as refused:
        shrunk(data[: max(1000, len(data) - missing)] + b"\xff\xd9", (128, 96))
    assert refused.value.reason == "image_truncated"


def test_what_is_made_no_smaller_is_pillows_or_as_it_is() -> None:
    data = jpeg(photograph(320, 240))
    whole = np.asarray(opened(data)).astype(int)
    assert np.abs(shrunk(data, (320, 240)) - whole).mean() <= 0.1
    larger = SHRINKER.scaled(read_header(data), (640, 480))
    assert np.abs(np.asarray(larger) - careful(data, (640, 480))).mean() <= 0.1


def test_inks_are_made_smaller_as_inks() -> None:
    data = jpeg(photograph(1000, 800).convert("CMYK"))
    pixels = shrunk(data, (320, 256))
    assert pixels.shape == (256, 320, 4)
    assert np.abs(pixels - careful(data, (320, 256))).mean() <= 1.5


def test_it_is_stored_as_pillow_stores_it() -> None:
    pixels = np.asarray(photograph(320, 240))
    for quality in (50, 95):
        ours, pillows = opened(encode_jpeg(pixels, quality)), opened(jpeg(Image.fromarray(pixels), quality=quality))
        assert ours.quantization == pillows.quantization
        assert ours.layer == pillows.layer  # the subsampling
        assert distance(np.asarray(ours), pixels) <= distance(np.asarray(pillows), pixels) + 0.1
