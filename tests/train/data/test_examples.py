# mypy: disable-error-code="operator, union-attr"
from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from helpers.photographs import encoded, photograph
from helpers.shards import jpeg, sample_files, uid_of
from openwit.shards.samples import TarSample, Unusable
from openwit.shards.tar import SIZES, BufferPool
from train.data.examples import ClipExampleBuilder, DecodedCache, Example
from train.data.order import draw


def builder(excluded: tuple[str, ...] = (), cache_bytes: int = 0) -> ClipExampleBuilder:
    return ClipExampleBuilder(3, 20, 16, frozenset(map(uid_of, excluded)), DecodedCache(cache_bytes))


def sample(number: int = 2, **changes: bytes | None) -> TarSample:
    members = sample_files("k", number, 32) | changes
    return TarSample("k", {name: content for name, content in members.items() if content is not None})


def test_an_example_has_a_square_and_one_of_the_captions_by_epoch() -> None:
    made = [builder().build(sample(), epoch) for epoch in range(30)]
    assert all(isinstance(example, Example) and example.pixels.shape == (16, 16, 3) for example in made)
    assert {example.caption[-3:] for example in made} == {"(0)", "(1)", "(2)"}


def test_the_same_epoch_draws_the_same_crop_and_caption_and_another_does_not() -> None:
    gradient = np.mgrid[:24, :32].sum(0).astype(np.uint8)
    one = sample(jpg=jpeg(np.stack([gradient * 4] * 3, -1)))
    first, again = builder().build(one, 0), builder(cache_bytes=1 << 20).build(one, 0)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.caption == again.caption
    assert any(not np.array_equal(first.pixels, builder().build(one, epoch).pixels) for epoch in range(1, 6))


def test_only_patch_dropout_draws_for_patches_and_it_changes_nothing_else() -> None:
    plain, drawing = builder(), replace(builder(), draws_patches=True)
    pairs = [(plain.build(sample(), epoch), drawing.build(sample(), epoch)) for epoch in range(5)]
    assert {one.patches_seed for one, _ in pairs} == {0}
    assert [other.patches_seed for _, other in pairs] == [draw("patches", 3, epoch, "k") for epoch in range(5)]
    assert all(np.array_equal(one.pixels, other.pixels) and one.caption == other.caption for one, other in pairs)


def test_excluded_captions_are_never_used_and_a_pair_without_others_is_left_out() -> None:
    excluded = ("k-0", "k-2")
    assert {builder(excluded).build(sample(), epoch).caption[-3:] for epoch in range(20)} == {"(1)"}
    refused = builder(("k-0", "k-1", "k-2")).build(sample(), 0)
    assert isinstance(refused, Unusable)
    assert refused.reason == "excluded"


def test_a_plain_pair_without_json_is_used_with_its_text_and_its_uid_counts() -> None:
    assert builder().build(sample(json=None), 0).caption.endswith("(0)")
    lone = json.dumps({"uid": uid_of("u")}).encode()
    assert builder(("u",)).build(sample(json=lone), 0).reason == "excluded"


@pytest.mark.parametrize(
    ("notes", "captions"),
    [
        (b"not json", ["words"]),
        (b'{"captions": 3}', ["words"]),
        (b'[{"caption": "listed"}]', ["words"]),
        (b'{"caption": null, "similarity": NaN}', ["words"]),
        (b'{"caption": "own", "uid": 7}', ["own"]),
        (b'\xef\xbb\xbf{"caption": "own", "uid": null}', ["own"]),
        (b'{"captions": ["one", "two"]}', ["one", "two"]),
        (b'{"captions": {"en": "one", "de": "zwei"}}', ["one", "zwei"]),
        (b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b', "caption": "own"}', ["own"]),
    ],
)
def test_a_sample_with_odd_notes_is_used_with_the_captions_that_it_has(notes: Any, captions: Any) -> None:
    made = {builder().build(sample(json=notes, txt=b"words"), epoch).caption for epoch in range(20)}
    assert made == set(captions)


def noise(size: tuple[int, int] = (64, 96)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
LARGE = {
    "plain": {"jpg": stored(noise(), "JPEG")},
    "progressive": {"jpg": stored(noise(), "JPEG", progressive=True, quality=95)},
    "turned": {"jpg": stored(noise(), "JPEG", exif=TURNED)},
    "print": {"jpg": stored(noise().convert("CMYK"), "JPEG")},
    "cut": {"jpg": stored(noise(), "JPEG")[:5000]},
    "garbage": {"jpg": bytes(range(256)) * 20},
    "png": {"jpg": None, "png": stored(noise(), "PNG")},
    "webp": {"jpg": None, "webp": stored(noise(), "WEBP")},
    "long text": {"json": None, "txt": b"words " * 1000},
    "broken notes": {"json": b'{"captions": [' + b'{"uid": "a", "caption": "b"}, ' * 200},
}


@pytest.mark.parametrize("changes", LARGE.values(), ids=LARGE)
def test_what_lies_in_a_pools_buffers_gives_the_same_and_can_be_released(changes: Any) -> None:
    plain, pool = sample(**changes), BufferPool()
    buffers = {name: pool.acquire(len(content)) for name, content in plain.members.items() if len(content) in SIZES}
    assert buffers
    for name, place in buffers.items():
        place[:] = plain.members[name]
    made, expected = (builder().build(one, 0) for one in (replace(plain, members=plain.members | buffers), plain))
    for place in buffers.values():
        pool.release(place)
    if isinstance(expected, Unusable):
        assert made == expected
    else:
        assert (made.key, made.caption) == (expected.key, expected.caption)
        assert np.array_equal(made.pixels, expected.pixels)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"json": b"{}", "txt": b"  "}, "text"),
        ({"json": None, "txt": None}, "text"),
        ({"json": b"not json", "txt": b""}, "text"),
        ({"json": b'{"captions": 3}', "txt": None}, "text"),
        ({"jpg": None}, "image"),
        ({"jpg": b"<html>no image</html>"}, "image"),
    ],
)
def test_what_cannot_be_used_says_why(changes: dict[str, Any], reason: str) -> None:
    made = builder().build(sample(**changes), 0)
    assert isinstance(made, Unusable)
    assert made.reason == reason
    assert made.key == "k"


def test_the_cache_keeps_no_more_than_its_bytes() -> None:
    cache = DecodedCache(3 * 20 * 26 * 3)
    encoded = sample().members["jpg"]
    for key in "abcdefgh":
        cache.get(key, encoded, 20)
    assert 0 < sum(pixels.nbytes for pixels in cache.pixels.values()) <= 3 * 20 * 26 * 3


def test_a_crop_is_the_same_with_and_without_the_cache_in_any_order() -> None:
    images = [sample(jpg=encoded(photograph(90, 130, seed))) for seed in range(3)]
    cached = builder(cache_bytes=1 << 20)
    for epoch in range(3):
        for one in images if epoch % 2 else images[::-1]:
            assert np.array_equal(cached.build(one, epoch).pixels, builder().build(one, epoch).pixels)
    assert len(cached.cache.pixels) == 3
