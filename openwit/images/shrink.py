"""Images made smaller, as the crawl stores them: quickly, by OpenCV, where they are JPEGs.

libjpeg-turbo decodes them at reduced scale where that costs no quality, and OpenCV resizes. The careful way that all
other images go is its plain twin: Pillow's antialiased bicubic resize of the whole image, three times slower.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from openwit.images.decode import as_image, load, load_plain
from openwit.images.header import U8, Header, Size
from openwit.images.jpeg import JpegHeader

# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves so many times the size that is wanted. With less left, the
# 8x8 blocks that it is made of begin to tell.
REDUCING_GAP = 2
_KEPT_BYTES = 8_000_000  # four times the usual 256 pixels a side, which is the most that is left, and more


def reduction_to(header: Header, wanted: Size) -> int:
    """1, 2, 4 or 8: decoding keeps one of so many pixels a side, where the image will be made `wanted`."""
    return header.reduction((REDUCING_GAP * wanted[0], REDUCING_GAP * wanted[1]))


class Shrinker:
    """Scales images, in memory that it keeps: to be given fresh pages for each costs a third of the time. For one
    thread, which uses an answer before it asks for the next."""

    def __init__(self) -> None:
        self._decoded = np.empty(_KEPT_BYTES, np.uint8)  # takes no memory before it is used
        self._blurred = np.empty(_KEPT_BYTES, np.uint8)

    def scaled(self, header: Header, wanted: Size) -> U8 | Image.Image:
        """The image scaled to `wanted`, a size as it is stored: what `finish` takes. Raises ImageError."""
        factor = reduction_to(header, wanted)
        pixels = load(header, factor, self._decoded)
        if isinstance(pixels, Image.Image):
            return _resized_by_pillow(pixels, header, factor, wanted)
        if wanted == header.size:
            return pixels
        if wanted[0] >= header.size[0] or wanted[1] >= header.size[1]:
            return _resized_by_pillow(as_image(pixels), header, factor, wanted)
        blurred = self._blurred[: pixels.size].reshape(pixels.shape) if pixels.size <= _KEPT_BYTES else None
        return resampled(pixels, (header.size[0] / factor, header.size[1] / factor), wanted, blurred)


def carefully_scaled(header: Header, wanted: Size) -> Image.Image:
    """What `Shrinker.scaled` gives, by Pillow alone."""
    factor = reduction_to(header, wanted)
    return _resized_by_pillow(load_plain(header, factor), header, factor, wanted)


def _resized_by_pillow(image: Image.Image, header: Header, factor: int, wanted: Size) -> Image.Image:
    if wanted == image.size:
        return image
    is_jpeg = isinstance(header, JpegHeader)  # whose last pixel may be covered in part
    box = (0.0, 0.0, header.size[0] / factor, header.size[1] / factor) if is_jpeg else None
    return image.resize(wanted, Image.Resampling.BICUBIC, box=box, reducing_gap=None if factor > 1 else 3.0)


def resampled(pixels: U8, extent: tuple[float, float], wanted: Size, blurred: U8 | None = None) -> U8:
    """The uint8 pixels [H, W] or [H, W, channels], of which `extent` (width, height) is covered, scaled down to
    `wanted`; `blurred` is memory of their shape to work in.

    OpenCV's cubic interpolation sharpens, and averages nothing of what lies between its points: a light blur before it
    makes both good. The blur was fitted on photographs, against Lanczos' filter and the bicubic one: few taps are fast,
    and where they cut the Gaussian short it has to be wider.
    """
    across, down = extent[0] / wanted[0], extent[1] / wanted[1]
    ratio = max(across, down)
    reach = max(1, math.ceil(0.75 * ratio - 1))
    share = 0.35 if ratio < 2.1 else 0.45 if reach == 1 else 0.37
    soft = cv2.GaussianBlur(pixels, (2 * reach + 1, 2 * reach + 1), share * ratio, dst=blurred)
    # by factors, not by the size: decoding at 1/2 gives a last pixel that is covered by half where the width is odd
    scaled = cv2.resize(soft, None, fx=1 / across, fy=1 / down, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(scaled[: wanted[1], : wanted[0]], np.uint8)


def encode_jpeg(pixels: U8, quality: int) -> bytes:
    """A JPEG of the RGB pixels, its colours at half the size (4:2:0), as Pillow and OpenCV write it."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420")
    return data
