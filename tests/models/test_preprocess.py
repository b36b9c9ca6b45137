# mypy: disable-error-code="arg-type"
from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from models.config import PreprocessConfig
from models.preprocess import MEAN_RGB, STD_RGB, decode_image, normalize_pixels, preprocess, resize_and_crop
from openwit.errors import InputError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(300, 200), (201, 333), (64, 64), (40, 30), (1000, 31), (65, 64)])
def test_pixels_are_those_of_open_clips_evaluation_transform(size: tuple[int, int]) -> None:
    transform = pytest.importorskip("open_clip.transform")
    theirs = transform.image_transform(64, is_train=False, mean=MEAN_RGB, std=STD_RGB)
    torch.testing.assert_close(preprocess(noise(*size), 64), theirs(noise(*size)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_opened_image_is_prepared_as_its_bytes_are_decoded(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(90, 60), kind, exif=exif)
    opened = preprocess(Image.open(io.BytesIO(data)), 48)
    torch.testing.assert_close(opened, preprocess(decode_image(data), 48), atol=0.05, rtol=0)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (40, 61), (64, 64)])
def test_every_config_gives_the_pixels_of_open_clips_transform(
    size: tuple[int, int], resize_mode: str, interpolation: str
) -> None:
    transform = pytest.importorskip("open_clip.transform")
    config = PreprocessConfig(
        mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation=interpolation, resize_mode=resize_mode
    )
    theirs = transform.image_transform(
        64, False, config.mean, config.std, resize_mode=resize_mode, interpolation=interpolation
    )
    torch.testing.assert_close(preprocess(noise(*size), 64, config), theirs(noise(*size)), atol=1e-6, rtol=0)


def test_normalised_pixels_have_the_released_mean_and_deviation() -> None:
    grey = torch.full((1, 3, 2, 2), 128, dtype=torch.uint8)
    expected = [(128 / 255 - mean) / std for mean, std in zip(MEAN_RGB, STD_RGB, strict=True)]
    torch.testing.assert_close(normalize_pixels(grey)[0, :, 0, 0], torch.tensor(expected))


def test_what_is_transparent_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert decode_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert decode_image(encoded(half)).getpixel((0, 0)) == (127, 127, 127)
    palette = clear.convert("P")
    assert decode_image(encoded(palette, transparency=palette.getpixel((0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    deep = Image.fromarray(np.array([[0, 0x8000], [0x40FF, 0xFFFF]], dtype=np.uint16))
    assert np.asarray(decode_image(encoded(deep)))[..., 0].tolist() == [[0, 128], [65, 255]]


def test_a_rotated_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise
    assert decode_image(encoded(noise(30, 20), "JPEG", exif=exif)).size == (20, 30)


@pytest.mark.parametrize("damaged", [b"", b"<html>not an image</html>", encoded(noise(50, 50))[:300]])
def test_what_is_no_image_is_an_input_error(damaged: bytes) -> None:
    with pytest.raises(InputError, match=f"not a readable image .{len(damaged)} bytes"):
        decode_image(damaged)


def test_resizing_gives_bytes_of_the_asked_square() -> None:
    square = resize_and_crop(noise(90, 50), 32)
    assert (square.shape, square.dtype) == ((3, 32, 32), torch.uint8)


@pytest.mark.parametrize("wide", [False, True])
def test_the_centre_of_an_odd_rest_is_rounded_as_in_the_released_code(wide: bool) -> None:
    """Of three rows too many the crop leaves out two before and one behind: round(1.5) is 2."""
    pixels = np.random.default_rng(0).integers(0, 256, (35, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels.transpose(1, 0, 2) if wide else pixels)
    cropped = resize_and_crop(image, 32).permute((2, 1, 0) if wide else (1, 2, 0)).numpy()
    np.testing.assert_array_equal(cropped, pixels[2:34])
