from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.duplicates.fingerprints import Fingerprints, decode_small, distance, pixels_sha256, shown, thumbnail
from helpers.crawled import altered, jpeg, png, scene
from openwit.errors import InputError
from openwit.images import decode, decode_reduced


def fingerprints(*images: bytes) -> Fingerprints:
    return Fingerprints.of([thumbnail(decode_small(data)) for data in images])


def apart(prints: Fingerprints) -> tuple[float, float]:
    return (
        float(distance(prints.hash64[0], prints.hash64[1], prints.reliable64[0])),
        float(distance(prints.hash256[0], prints.hash256[1], prints.reliable256[0])),
    )


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_recompressed_smaller_copy_stays_near_and_another_image_is_far(seed: int) -> None:
    image = scene(seed)
    short, long = apart(fingerprints(png(image), jpeg(altered(image, crop=0.0), quality=60)))
    assert short <= 0.1
    assert long <= 0.1
    _, long = apart(fingerprints(png(image), png(scene(seed + 20_000))))
    assert long > 0.25


def test_brightness_and_contrast_hardly_count() -> None:
    image = scene(3)
    dim = (image.astype(np.float32) * 0.6 + 40).astype(np.uint8)
    assert max(apart(fingerprints(png(image), png(dim)))) <= 0.02


def test_a_copy_in_other_colours_differs_in_colours_alone() -> None:
    gray = cv2.cvtColor(scene(4), cv2.COLOR_BGR2GRAY)
    plain = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    tinted = np.clip(plain.astype(int) + np.array([-60, 0, 60]), 0, 255).astype(np.uint8)
    prints = fingerprints(png(plain), png(tinted))
    assert max(apart(prints)) <= 0.1
    assert np.abs(prints.colors[0].astype(int) - prints.colors[1]).mean() > 20


def test_hashes_are_signs_of_the_transform_against_a_plain_sum() -> None:
    small = thumbnail(decode_small(png(scene(5)))).astype(np.float64) @ (0.299, 0.587, 0.114)
    x = np.arange(32)
    plain = np.array(
        [
            [np.sum(small * np.outer(np.cos(np.pi * k * (2 * x + 1) / 64), np.cos(np.pi * m * (2 * x + 1) / 64)))
             for m in range(8)]
            for k in range(8)
        ]
    )  # fmt: skip
    bits = np.packbits((plain > np.median(plain)).ravel()).view(np.uint64)
    assert fingerprints(png(scene(5))).hash64[0] == bits


def test_a_flat_image_has_no_contrast_and_a_symmetric_one_fewer_reliable_bits() -> None:
    flat = np.full((64, 64, 3), 200, np.uint8)
    half = scene(6)[:, :64]
    mirrored = np.concatenate([half, half[:, ::-1]], axis=1)
    prints = fingerprints(png(flat), png(mirrored), png(scene(6)))
    assert prints.contrast[0] == 0
    reliable = np.bitwise_count(prints.reliable256).sum(axis=1)
    assert reliable[1] < 0.7 * reliable[2]


def test_what_is_transparent_shows_white() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[:4] = (10, 20, 30, 255)
    decoded = decode(png(image))
    assert decoded[0, 0].tolist() == [30, 20, 10]
    assert decoded[7, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 8), 128, np.uint8),
        np.full((8, 8), 128 << 8, np.uint16),
        np.full((8, 8, 3), 128 << 8, np.uint16),
    ],
)
def test_grey_and_16_bit_images_are_read_at_their_level(image: np.ndarray) -> None:
    decoded = decode(png(image))
    assert decoded.shape == (8, 8, 3)
    assert abs(int(decoded[0, 0, 0]) - 128) <= 1


@pytest.mark.parametrize("data", [b"", b"<html>", jpeg(scene(1))[:20], b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match="not a readable image"):
        decode_small(data)


@pytest.mark.parametrize(
    ("size", "least_px", "decoded"),
    [(512, 48, 64), (256, 48, 64), (128, 48, 64), (90, 48, 90), (512, 300, 512), (512, 200, 256)],
)
def test_a_jpeg_is_decoded_no_larger_than_it_must_and_no_smaller_than_it_may(
    size: int, least_px: int, decoded: int
) -> None:
    assert decode_reduced(jpeg(cv2.resize(scene(1), (size, size))), least_px).shape == (decoded, decoded, 3)


def test_reduced_decoding_hardly_moves_a_hash() -> None:
    for seed in range(5):
        large = jpeg(cv2.resize(scene(seed), (400, 400), interpolation=cv2.INTER_CUBIC), 95)
        prints = Fingerprints.of([thumbnail(decode(large)), thumbnail(decode_small(large))])
        assert max(apart(prints)) <= 0.02


def test_colours_are_those_of_opencv_averaged_over_cells() -> None:
    small = thumbnail(decode_small(png(scene(9))))
    levels = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float64)
    cells = levels.reshape(4, 8, 4, 8, 2).mean(axis=(1, 3)).ravel()
    assert np.abs(Fingerprints.of([small]).colors[0] - cells).max() <= 1.5


def test_pixels_are_the_same_in_any_container_and_differ_by_a_level_or_by_shape() -> None:
    image = scene(2)
    encodings = [
        cv2.imencode(".png", image)[1],
        cv2.imencode(".bmp", image)[1],
        cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1],  # lossless
    ]
    digests = {pixels_sha256(data.tobytes()) for data in encodings}
    assert len(digests) == 1
    changed = image.copy()
    changed[5, 5, 0] ^= 1
    assert pixels_sha256(png(changed)) not in digests
    assert pixels_sha256(png(image.reshape(64, 256, 3))) not in digests


def test_a_jpeg_with_other_metadata_has_the_same_pixels() -> None:
    plain = jpeg(scene(3))
    commented = plain[:2] + b"\xff\xfe\x00\x0bcomment!!" + plain[2:]
    assert plain != commented
    assert pixels_sha256(plain) == pixels_sha256(commented) != pixels_sha256(jpeg(scene(4)))


def test_images_for_the_report_are_small_and_keep_their_shape() -> None:
    image = decode(shown(cv2.resize(scene(1), (600, 300))))  # type: ignore[arg-type]
    assert image.shape == (64, 128, 3)


def test_no_images_give_no_fingerprints() -> None:
    assert len(Fingerprints.of([])) == 0


def test_hashes_without_a_reliable_bit_are_as_far_apart_as_can_be() -> None:
    one, none = np.array([7], np.uint64), np.zeros(1, np.uint64)
    assert distance(one, one, none) == 1
    assert distance(one, one, one) == 0
    assert distance(one, ~one, one) == 1
