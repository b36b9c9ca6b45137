from __future__ import annotations

import io

import pytest
from PIL import Image, features

from datagen.crawl.image_kinds import has_image_signature, may_be_image


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
def test_a_type_of_a_picture_or_one_that_says_nothing_is_let_through(kind: str) -> None:
    assert may_be_image(kind)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "image/svg+xml", "video/mp4", "application/json"])
def test_a_type_of_something_else_is_not(kind: str) -> None:
    assert not may_be_image(kind)
