from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datagen.config import CrawlConfig
from datagen.crawl.images import ImageResizer


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def stored(stream: io.BytesIO, image_px: int = 64) -> np.ndarray:
    data, width, height, *_, error = ImageResizer(CrawlConfig(image_px=image_px, jpeg_quality=100))(stream)
    assert error is None
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    assert image.size == (width, height)
    return np.asarray(image)


def test_the_shorter_side_is_reduced_and_the_original_size_recorded() -> None:
    resized = ImageResizer(CrawlConfig(image_px=64))(encoded(Image.new("RGB", (300, 200)), "JPEG"))
    assert resized[1:] == (96, 64, 300, 200, None)


def test_a_small_picture_is_not_enlarged() -> None:
    assert ImageResizer(CrawlConfig(image_px=64))(encoded(Image.new("RGB", (30, 20))))[1:5] == (30, 20, 30, 20)


def test_transparency_lies_over_white() -> None:
    assert stored(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))).min() > 250
    palette = Image.new("P", (8, 8), 0)
    assert stored(encoded(palette, transparency=0)).min() > 250


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
    assert abs(int(stored(encoded(grey)).mean()) - 128) <= 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert stored(encoded(Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode), kind)).shape == (8, 8, 3)


def test_a_picture_is_stored_upright() -> None:
    image = Image.new("RGB", (40, 20), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    resized = ImageResizer(CrawlConfig())(encoded(image, "JPEG", exif=exif, quality=95))
    assert resized[1:5] == (20, 40, 20, 40)
    upright = np.asarray(Image.open(io.BytesIO(resized[0])))
    assert upright[5, 10, 1] < 60 < 200 < upright[35, 10, 1]


def test_a_truncated_jpeg_is_refused() -> None:
    data = encoded(Image.effect_noise((200, 200), 80), "JPEG").getvalue()
    error = ImageResizer(CrawlConfig())(io.BytesIO(data[: len(data) // 2]))[5]
    assert error.startswith("image_truncated")


def test_a_page_posing_as_a_picture_is_undecodable() -> None:
    assert ImageResizer(CrawlConfig())(io.BytesIO(b"<html>not found</html>"))[5].startswith("image_undecodable")


def test_a_huge_picture_is_refused_by_its_header_alone() -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    error = ImageResizer(CrawlConfig())(io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT"))[5]
    assert error.startswith("image_too_large: 20000x20000")


def test_the_first_frame_of_an_animation_is_stored() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = stored(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert pixels[4, 4, 0] > 200 > 60 > pixels[4, 4, 2]
