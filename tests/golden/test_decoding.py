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
from datagen.crawl.resizer import ImageResizer
from datagen.duplicates.fingerprints import decode_small
from helpers.odd_images import HEIGHT, U8, OddImage, odd_images
from models.preprocess import decode_image
from openwit.images import decode, decode_reduced
from openwit.images.decode import finish
from openwit.images.reading import read_header
from openwit.images.shrink import Shrinker
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
    header = read_header(data)
    return finish(Shrinker().scaled(header, header.size), header)


CALLERS = {
    "evaluation": Caller(lambda data: np.asarray(decode_image(data))),
    "training": Caller(lambda data: decode_resized(data, HEIGHT)),
    "training, smaller": Caller(lambda data: decode_resized(data, HEIGHT // 2), 2),
    "training, plain twin": Caller(lambda data: decode_carefully(data, HEIGHT)),
    "training, by torch": Caller(lambda data: decode_resized_on(torch.device("cpu"), data, HEIGHT).numpy()),
    "fingerprints": Caller(decode_small),
    "digest of pixels": Caller(decode),
    "detector": Caller(lambda data: decode_reduced(data, HEIGHT)),
    "crawl, not yet stored": Caller(before_it_is_stored),
    "crawl": Caller(crawled(HEIGHT), 1, STORED_LEVELS),
    "crawl, smaller": Caller(crawled(HEIGHT // 2), 2, STORED_LEVELS),
}
IMAGES = odd_images()


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
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
