"""An encoded image is the same pixels for everyone who decodes it: upright, sRGB, over white, its first frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from datagen.config import CrawlConfig
from datagen.crawl.resizer import ImageResizer, finished
from datagen.duplicates.fingerprints import decode
from helpers.odd_images import HEIGHT, U8, OddImage, odd_images
from models.detector.descriptor import decode_reduced
from models.preprocess import decode_image
from train.data.decode import decode_carefully, decode_resized
from train.data.gpu_decode import decode_resized_on

STORED_LEVELS = 3.0  # that the crawl's own JPEG may be off


@dataclass(frozen=True)
class Caller:
    """Who decodes: bytes → uint8 RGB [H, W, 3], made smaller by `scale`."""

    decode: Callable[[bytes], U8]
    scale: int = 1
    more_levels: float = 0.0


def crawled(image_px: int) -> Callable[[bytes], U8]:
    """What a crawl stores of an image, decoded."""

    def stored(data: bytes) -> U8:
        resizer = ImageResizer(CrawlConfig(image_px=image_px, jpeg_quality=100))
        jpeg, *_, error = resizer(io.BytesIO(data))
        assert jpeg is not None, error
        return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))

    return stored


def before_it_is_stored(data: bytes) -> U8:
    """What a crawl makes of an image, before its JPEG blurs it."""
    with Image.open(io.BytesIO(data)) as source:
        return np.asarray(finished(source, None, source.size)[0])


CALLERS = {
    "evaluation": Caller(lambda data: np.asarray(decode_image(data))),
    "training": Caller(lambda data: decode_resized(data, HEIGHT)),
    "training, smaller": Caller(lambda data: decode_resized(data, HEIGHT // 2), 2),
    "training, plain twin": Caller(lambda data: decode_carefully(data, HEIGHT)),
    "training, by torch": Caller(lambda data: decode_resized_on(torch.device("cpu"), data, HEIGHT).numpy()),
    "fingerprints": Caller(lambda data: decode(data)[..., ::-1]),
    "digest of pixels": Caller(lambda data: decode(data, least_px=0)[..., ::-1]),
    "detector": Caller(lambda data: decode_reduced(data, HEIGHT)),
    "crawl, not yet stored": Caller(before_it_is_stored),
    "crawl": Caller(crawled(HEIGHT), 1, STORED_LEVELS),
    "crawl, smaller": Caller(crawled(HEIGHT // 2), 2, STORED_LEVELS),
}
ONE_DECODER = pytest.mark.xfail(strict=True, reason="one decoder: HOUSE.md section 1")
PROFILES = {
    "png_wide_profile", "jpeg_wide_profile", "webp_wide_profile", "tiff_wide_profile", "png_rgba_wide_profile",
    "png_grey_profile", "jpeg_grey_profile", "tiff_cmyk_profile", "jpeg_cmyk_profile",
}  # fmt: skip
SIXTEEN_BITS = {"png_rgb16", "png_rgb16_trns", "png_rgba16", "png_grey_alpha16"}  # that Pillow cuts
SIXTEEN_BITS_OF_GREY = {"png_grey16", "tiff_grey16", "png_grey16_trns"}
BY_PILLOW = PROFILES | SIXTEEN_BITS | SIXTEEN_BITS_OF_GREY | {"jpeg_xmp_orientation"}
BY_OPENCV = PROFILES | {"png_grey_trns", "png_grey16_trns", "tiff_rgba"}
BY_OPENCV |= {f"{kind}_turned_{orientation}" for kind in ("png", "webp") for orientation in range(2, 9)}
WRONG_TODAY = {  # caller: the images that it shows otherwise
    "evaluation": BY_PILLOW,
    "training": BY_PILLOW,
    "training, smaller": BY_PILLOW,
    "training, plain twin": BY_PILLOW,
    "training, by torch": BY_PILLOW,
    "fingerprints": BY_OPENCV,
    "digest of pixels": BY_OPENCV,
    "detector": PROFILES | SIXTEEN_BITS | SIXTEEN_BITS_OF_GREY,
    "crawl, not yet stored": SIXTEEN_BITS | {"jpeg_xmp_orientation"},
    "crawl": {"jpeg_xmp_orientation"},
    "crawl, smaller": {"jpeg_xmp_orientation"},
}
IMAGES = odd_images()


def cases() -> list[object]:
    return [
        pytest.param(
            CALLERS[name], image, id=f"{name}-{image.name}",
            marks=[ONE_DECODER] if image.name in WRONG_TODAY.get(name, ()) else [],
        )
        for name in CALLERS
        for image in IMAGES
    ]  # fmt: skip


@pytest.mark.parametrize(("caller", "image"), cases())
def test_every_caller_sees_what_a_viewer_shows(caller: Caller, image: OddImage) -> None:
    pixels = caller.decode(image.data)
    height, width = image.height // caller.scale, image.width // caller.scale
    assert (pixels.dtype.name, pixels.shape) == ("uint8", (height, width, 3))
    for row in (0, 1):
        for column in (0, 1):
            top, left = row * height // 2 + height // 8, column * width // 2 + width // 8
            inside = pixels[top : top + height // 4, left : left + width // 4].astype(float)
            off = np.abs(inside - image.colours[row, column]).max()
            said = f"quadrant {row}, {column}: {inside[0, 0]}, expected {image.colours[row, column]}"
            assert off <= image.tolerance + caller.more_levels + 1e-9, said


def test_every_exception_is_of_a_case_that_is_there() -> None:
    assert set(WRONG_TODAY) <= set(CALLERS)
    assert set().union(*WRONG_TODAY.values()) <= {image.name for image in IMAGES}
