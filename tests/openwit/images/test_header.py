from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from datagen.config import CrawlConfig
from datagen.crawl.resizer import ImageResizer
from openwit.images.header import decoding_bytes, ends_early, has_image_signature, may_be_image, refusal

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
    opened = Image.open(io.BytesIO(data))
    promised = decoding_bytes(opened, data.count(b"\xff\xda"), kept=2 if kind == "JPEG" else 1)
    assert taken(data, CrawlConfig()) <= promised + SLACK_BYTES
    assert refusal(opened, data, 1, 10**9, 10_000_000).startswith("image_too_large: 3000x2000")


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
    promised = decoding_bytes(Image.open(io.BytesIO(data)), 1, kept=1)
    assert taken(data, CrawlConfig(image_px=1200)) <= promised + SLACK_BYTES


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    assert ImageResizer(CrawlConfig())(io.BytesIO(data))[5] is None
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + data[scan:-2] * 500 + data[-2:]
    assert ImageResizer(CrawlConfig())(io.BytesIO(bomb))[5].startswith("image_undecodable: a JPEG of 5")


def test_a_tiff_whose_tiles_are_larger_than_itself_is_counted_by_its_tiles() -> None:
    opened = Image.new("RGB", (8, 8))
    opened.format, opened.tag_v2 = "TIFF", {322: 60_000, 323: 60_000}
    assert refusal(opened, b"", 1, 10**8, 10**9).startswith("image_too_large: 8x8 TIFF takes 43200 MB")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_file_shorter_than_its_header_says_ends_early(kind: str) -> None:
    stream = io.BytesIO()
    photograph().resize((90, 60)).save(stream, kind)
    assert not ends_early(stream.getvalue())
    assert ends_early(stream.getvalue()[:-9])
    assert not ends_early(b"")


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
