# mypy: disable-error-code="arg-type, index, no-untyped-call, union-attr"
from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from datagen.config import CrawlConfig
from datagen.crawl.resizer import ImageResizer
from openwit.errors import ImageError
from openwit.images.header import DecodingLimits, Header, has_image_signature, may_be_image
from openwit.images.reading import read_header

SIZE = (3000, 2000)
SLACK_BYTES = 12_000_000  # the resized image, libraries' buffers, the allocator's


def photograph() -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def glass() -> Image.Image:
    layer = photograph().convert("RGBA")
    layer.putalpha(128)
    return layer


HEAVY = {
    "png": lambda: (photograph(), "PNG", {"compress_level": 1}),
    "png with alpha": lambda: (glass(), "PNG", {"compress_level": 1}),
    "png of colours": lambda: (photograph().convert("P"), "PNG", {"transparency": 3}),
    "png of 16 bits": lambda: (Image.fromarray(np.zeros(SIZE[::-1], np.uint16)), "PNG", {}),
    "jpeg": lambda: (photograph(), "JPEG", {}),
    "jpeg of several scans": lambda: (photograph(), "JPEG", {"progressive": True, "subsampling": 0}),
    "jpeg of inks": lambda: (photograph().convert("CMYK"), "JPEG", {}),
    "webp": lambda: (photograph(), "WEBP", {"method": 0}),
    "webp with alpha": lambda: (glass(), "WEBP", {"lossless": True, "method": 0}),
    "avif": lambda: (photograph(), "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
    "avif with alpha": lambda: (glass(), "AVIF", {"speed": 10}),
    "gif": lambda: (photograph().convert("P"), "GIF", {}),
    "bmp": lambda: (photograph(), "BMP", {}),
    "tiff": lambda: (photograph(), "TIFF", {"compression": "tiff_lzw"}),
}


def most_bytes() -> int:
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.mark.parametrize("name", HEAVY)
def test_decoding_takes_no_more_memory_than_the_header_promises(name: str) -> None:
    image, kind, options = HEAVY[name]()
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    del image
    data = stream.getvalue()
    header = read_header(data)
    assert taken(data, CrawlConfig()) <= header.decoding_bytes(2 if kind == "JPEG" else 1) + SLACK_BYTES
    with pytest.raises(ImageError, match=r"3000x2000 .* takes") as refused:
        DecodingLimits(max_bytes=10_000_000).check(header)
    assert refused.value.reason == "image_too_large"


def taken(data: bytes, config: CrawlConfig) -> int:
    """The memory that storing the image takes at its most, in bytes."""
    resizer = ImageResizer(config)
    assert resizer(io.BytesIO(data))[5] is None  # loads what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = most_bytes()
    resizer(io.BytesIO(data))
    return most_bytes() - before


@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_is_decoded_whole_takes_no_more_than_that_either(kind: str) -> None:
    stream = io.BytesIO()
    photograph().convert(kind).save(stream, "JPEG")
    data = stream.getvalue()
    promised = read_header(data).decoding_bytes()
    assert taken(data, CrawlConfig(image_px=1200)) <= promised + SLACK_BYTES


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    assert ImageResizer(CrawlConfig())(io.BytesIO(data))[5] is None
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + data[scan:-2] * 500 + data[-2:]
    assert ImageResizer(CrawlConfig())(io.BytesIO(bomb))[5].startswith("image_undecodable: a JPEG of 5")


def test_what_the_decoder_holds_counts_not_what_the_image_has() -> None:
    header = Header(format="TIFF", size=(8, 8), data=b"", pixel_bytes=12, held_pixels=60_000 * 60_000)
    with pytest.raises(ImageError, match="8x8 TIFF takes 43200 MB"):
        DecodingLimits().check(header)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-3, 5)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="no pixels"):
        DecodingLimits().check(Header(format="BMP", size=size, data=b""))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_every_format_that_is_decoded_is_known_by_its_first_bytes(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, kind)
    assert has_image_signature(stream.getvalue())


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff\xd8", b"%PDF-1.7", b"RIFF1234WAVE", b"....ftypmp42", b"PK\3\4"]
)
def test_what_starts_otherwise_is_none(body: bytes) -> None:
    assert not has_image_signature(body)


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG; q=1", "image/x-anything", "", "application/octet-stream"])
def test_a_type_of_an_image_or_one_that_says_nothing_is_let_through(kind: str) -> None:
    assert may_be_image(kind)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "image/svg+xml", "video/mp4", "application/json"])
def test_a_type_of_something_else_is_not(kind: str) -> None:
    assert not may_be_image(kind)
