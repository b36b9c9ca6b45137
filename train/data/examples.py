"""From a tar's sample to a training example: an image that may be used, and its caption or a copy of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from openwit.errors import InputError
from openwit.shards.samples import IMAGE_SUFFIXES, TarSample, Unusable
from openwit.shards.tar import Encoded
from train.config import StreamConfig
from train.data.decode import AnyPixels, crop_square, decode_resized
from train.data.order import draw


@dataclass(frozen=True)
class Example:
    """A pair ready for a batch: uint8 pixels [image_px, image_px, 3], a view of the image, and one caption."""

    key: str
    pixels: AnyPixels
    caption: str
    patches_seed: int = 0  # 64 bits, of what patch dropout draws


class DecodedCache:
    """Decodes and resizes images, and keeps them by key, up to a number of bytes: a small data set is decoded once,
    not every epoch."""

    def __init__(self, max_bytes: int, decode: Callable[[Encoded, int], AnyPixels] = decode_resized) -> None:
        """`decode` makes of encoded bytes an image with so many pixels on its shorter side."""
        self.decode = decode
        self.max_bytes = self.free_bytes = max_bytes
        self.pixels: dict[tuple[str, int], AnyPixels] = {}

    @classmethod
    def of(cls, stream: StreamConfig, decode: Callable[..., AnyPixels] = decode_resized) -> DecodedCache:
        """For one of a rank's processes, as the config says."""
        num_bytes = (stream.cache_decoded_mb << 20) // stream.processes
        return cls(num_bytes, partial(decode, reduced=stream.reduced_decode))

    def get(self, key: str, encoded: Encoded, resize_px: int) -> AnyPixels:
        """uint8 [H, W, 3], the shorter side `resize_px`. Raises InputError where the bytes are no image."""
        if not self.max_bytes:
            return self.decode(encoded, resize_px)
        mark = (key, zlib.crc32(encoded))  # data sets made elsewhere may use a key in several shards
        pixels = self.pixels.get(mark)
        if pixels is None:
            pixels = self.decode(encoded, resize_px)
            if pixels.nbytes <= self.free_bytes:
                self.free_bytes -= pixels.nbytes
                self.pixels[mark] = pixels
        return pixels


@dataclass(frozen=True)
class ClipExampleBuilder:
    """Builds a CLIP's examples; what it draws depends on (seed, epoch, key, copy) alone."""

    seed: int
    resize_px: int
    image_px: int
    excluded: frozenset[str]
    cache: DecodedCache
    draws_patches: bool = False

    def build(self, sample: TarSample, epoch: int) -> Example | Unusable:
        """The example, or why there is none: text, excluded or image."""
        captions = usable_captions(sample, self.excluded)
        if isinstance(captions, Unusable):
            return captions
        captions = [caption for caption in captions if caption.strip()]
        if not captions:
            return Unusable(sample.key, "text", "it has no caption")
        pixels = resized_image(sample, self.resize_px, self.cache)
        if isinstance(pixels, Unusable):
            return pixels
        square = crop_square(pixels, self.image_px, draw("crop", self.seed, epoch, sample.mark))
        chosen = draw("caption", self.seed, epoch, sample.mark) % len(captions) if len(captions) > 1 else 0
        patches_seed = draw("patches", self.seed, epoch, sample.mark) if self.draws_patches else 0
        return Example(sample.key, square, captions[chosen], patches_seed)


def usable_captions(sample: TarSample, excluded: frozenset[str]) -> list[str] | Unusable:
    """The captions that are not excluded, empty ones among them, or why there is none: excluded."""
    captions = [entry.caption for entry in sample.record.captions if entry.uid not in excluded]
    return captions or Unusable(sample.key, "excluded", "all its captions are excluded")


def resized_image(sample: TarSample, resize_px: int, cache: DecodedCache) -> AnyPixels | Unusable:
    """uint8 [H, W, 3], the shorter side `resize_px`, or why there is none: image."""
    encoded = sample.image
    if encoded is None:
        return Unusable(sample.key, "image", f"it has none of {', '.join(IMAGE_SUFFIXES)}")
    try:
        return cache.get(sample.key, encoded, resize_px)
    except InputError as error:
        return Unusable(sample.key, "image", str(error))
