from __future__ import annotations

import io
import tarfile

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from datagen.crawl.resizer import carefully_scaled
from helpers.places import SHARED
from openwit.images.jpeg import REDUCING_GAP, Shrinker, encoded, reduction, resampled

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


def distance(pixels: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square, in levels of 255."""
    return float(np.sqrt(((pixels.astype(float) - truth) ** 2).mean()))


def judged(data: bytes, wanted: tuple[int, int]) -> dict[str, float]:
    """How far the quick way, the careful one and an average over areas lie from the full decode's Lanczos filter."""
    whole = opened(data).convert("RGB")
    truth = np.asarray(whole.resize(wanted, Image.Resampling.LANCZOS)).astype(float)
    quick = SHRINKER.shrunk(data, whole.size, wanted)
    assert quick is not None
    assert quick.shape == truth.shape
    return {
        "quick": distance(quick, truth),
        "careful": distance(np.asarray(carefully_scaled(opened(data), wanted)), truth),
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
        careful = np.asarray(carefully_scaled(opened(data), wanted)).astype(int)
        assert np.abs(SHRINKER.shrunk(data, (1000, 800), wanted) - careful).mean() <= 1.5


def test_one_image_does_not_show_in_the_next_and_large_ones_find_memory_too() -> None:
    large, small = photograph(2000, 1500), page(640, 480)
    first = SHRINKER.shrunk(jpeg(small), small.size, (160, 120))
    kept = first.copy()
    second = SHRINKER.shrunk(jpeg(large), large.size, (1600, 1200))
    careful = np.asarray(carefully_scaled(opened(jpeg(large)), (1600, 1200))).astype(int)
    assert np.abs(second - careful).mean() <= 1.5
    SHRINKER.shrunk(jpeg(photograph(640, 480)), (640, 480), (160, 120))
    assert (first == kept).all()
    assert (SHRINKER.shrunk(jpeg(small), small.size, (160, 120)) == kept).all()


def test_grey_stays_grey() -> None:
    data = jpeg(photograph(1000, 800).convert("L"))
    pixels = SHRINKER.shrunk(data, (1000, 800), (320, 256))
    assert pixels.shape == (256, 320)
    assert np.abs(pixels - np.asarray(carefully_scaled(opened(data), (320, 256))).astype(int)).mean() <= 1.5


def test_a_spot_stays_where_it_is_when_half_a_pixel_is_left_over() -> None:
    width, height = 1009, 1013  # at 1/8, 126.125 by 126.625 pixels, which the decoder rounds up to 127
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).ellipse((860, 880, 980, 1000), fill=255)
    wanted = (52, 52)
    assert reduction(image.size, wanted) == 8
    pixels = SHRINKER.shrunk(jpeg(image), image.size, wanted).astype(float)
    middle = [float((pixels * axis).sum() / pixels.sum()) + 0.5 for axis in np.mgrid[:52, :52]]
    assert middle == pytest.approx([940.5 / height * 52, 920.5 / width * 52], abs=0.03)


@given(st.tuples(st.integers(2, 5000), st.integers(2, 5000)), st.integers(1, 600))
def test_decoding_keeps_twice_what_is_wanted_and_never_much_more(size: tuple[int, int], side: int) -> None:
    wanted = tuple(max(1, round(length * side / min(size))) for length in size)
    factor = reduction(size, wanted)
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
def test_a_jpeg_that_ends_early_is_left_to_the_careful_way(missing: int, progressive: bool) -> None:
    data = jpeg(photograph(320, 240), progressive=progressive)
    assert SHRINKER.shrunk(data, (320, 240), (128, 96)) is not None
    assert SHRINKER.shrunk(data[: max(1000, len(data) - missing)], (320, 240), (128, 96)) is None


def test_what_is_not_plain_is_left_to_the_careful_way() -> None:
    image = photograph(320, 240)
    data, wanted = jpeg(image), (128, 96)
    assert SHRINKER.shrunk(jpeg(image.convert("CMYK")), image.size, wanted) is None
    assert SHRINKER.shrunk(data, image.size, image.size) is None  # no smaller
    assert SHRINKER.shrunk(data, image.size, (640, 480)) is None
    assert SHRINKER.shrunk(data, (240, 320), wanted) is None  # what was read of the header says something else
    assert SHRINKER.shrunk(b"\xff\xd8\xff" + bytes(99), image.size, wanted) is None
    scan = data.index(b"\xff\xda") + 200
    assert SHRINKER.shrunk(data[:scan] + b"\xff\xd0" + data[scan:], image.size, wanted) is None  # libjpeg would go on


def test_it_is_stored_as_pillow_stores_it() -> None:
    pixels = np.asarray(photograph(320, 240))
    for quality in (50, 95):
        ours, pillows = opened(encoded(pixels, quality)), opened(jpeg(Image.fromarray(pixels), quality=quality))
        assert ours.quantization == pillows.quantization
        assert ours.layer == pillows.layer  # the subsampling
        assert distance(np.asarray(ours), pixels) <= distance(np.asarray(pillows), pixels) + 0.1
