from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from pipelines.demo_web.render import PIXEL_GIF, MotifDrawing, encode, format_of

CACTUS = MotifDrawing("1F335", 144, 0)


def test_equal_drawings_give_equal_bytes_in_every_format() -> None:
    for kind, name in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        drawing = replace(CACTUS, format=kind)  # type: ignore[arg-type]
        data = encode(drawing)
        assert data == encode(drawing)
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == (name, (144, 144))


def test_the_ground_is_light_and_its_shade_depends_on_the_drawing_and_the_seed() -> None:
    shades = set()
    for key in ("1F335", "1F577", "1F308"):
        for seed in (0, 1):
            corner = np.asarray(Image.open(io.BytesIO(encode(MotifDrawing(key, 48, seed)))))[0, 0]
            assert corner.min() >= 222
            shades.add(tuple(corner.tolist()))
    assert len(shades) == 6


def test_an_altered_copy_has_another_size_another_shade_and_nearly_the_same_content() -> None:
    original = Image.open(io.BytesIO(encode(CACTUS)))
    copy = Image.open(io.BytesIO(encode(replace(CACTUS, format="jpg", altered=True))))
    assert copy.format == "JPEG"
    assert copy.size[0] == copy.size[1]
    assert copy.size != original.size
    first = np.asarray(original.convert("L"), float)
    second = np.asarray(copy.convert("L").resize((144, 144)), float)
    assert original.getpixel((1, 1)) != copy.convert("RGB").getpixel((1, 1))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.8


def test_the_web_serves_all_three_formats() -> None:
    assert {format_of(f"{n:X}", 0) for n in range(50)} == {"jpg", "png", "webp"}


def test_the_tracking_pixel_is_a_gif_of_one_pixel() -> None:
    assert Image.open(io.BytesIO(PIXEL_GIF)).size == (1, 1)
