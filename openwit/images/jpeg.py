"""Most images of the web, JPEGs in grey or colours with 8 bits, made smaller quickly.

libjpeg-turbo decodes them at reduced scale where that costs no quality, and OpenCV resizes. The careful way that all
other images go is its plain twin: Pillow's antialiased bicubic resize of the whole image, three times slower.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import simplejpeg

Size = tuple[int, int]  # width, height in pixels

# A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves so many times the size that is wanted. With less left, the
# 8x8 blocks that it is made of begin to tell.
REDUCING_GAP = 2
_KEPT_BYTES = 8_000_000  # four times the usual 256 pixels a side, which is the most that is left, and more
_SPACES = {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}  # the file's colours → those decoded to


def reduction(size: Size, wanted: Size) -> int:
    """1, 2, 4 or 8: decoding keeps one of so many pixels a side."""
    gap = min(length / (aim * REDUCING_GAP) for length, aim in zip(size, wanted, strict=True))
    return next(factor for factor in (8, 4, 2, 1) if gap >= factor or factor == 1)


class Shrinker:
    """Scales JPEGs down, in memory that it keeps: to be given fresh pages for each image costs a third of the time.
    For one thread."""

    def __init__(self) -> None:
        self._decoded = np.empty(_KEPT_BYTES, np.uint8)  # takes no memory before it is used
        self._blurred = np.empty(_KEPT_BYTES, np.uint8)

    def shrunk(self, data: bytes, size: Size, wanted: Size) -> np.ndarray | None:
        """The JPEG of that `size` scaled down to `wanted`: uint8 [H, W] of grey or [H, W, 3] of RGB.

        None where the careful way must judge: other colours, no smaller size, and everything at which the decoder as
        much as raises an eyebrow, for it fills with grey what a truncated file lacks.
        """
        if wanted[0] >= size[0] or wanted[1] >= size[1]:
            return None
        factor = reduction(size, wanted)
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(data)
            if (width, height) != size or space not in _SPACES:
                return None
            pixels = self._decode(data, _SPACES[space], size, factor)
        except ValueError:
            return None
        blurred = self._blurred[: pixels.size].reshape(pixels.shape) if pixels.size <= _KEPT_BYTES else None
        return resampled(pixels, (size[0] / factor, size[1] / factor), wanted, blurred)

    def _decode(self, data: bytes, space: str, size: Size, factor: int) -> np.ndarray:
        width, height = (math.ceil(length / factor) for length in size)
        num_bytes = width * height * (1 if space == "GRAY" else 3)
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data,
            space,
            min_height=height,
            min_width=width,
            min_factor=factor,
            buffer=self._decoded if num_bytes <= _KEPT_BYTES else None,
        )
        return pixels


def resampled(
    pixels: np.ndarray, extent: tuple[float, float], wanted: Size, blurred: np.ndarray | None = None
) -> np.ndarray:
    """The uint8 pixels [H, W, channels], of which `extent` (width, height) is covered, scaled down to `wanted`;
    `blurred` is memory of their shape to work in.

    OpenCV's cubic interpolation sharpens, and averages nothing of what lies between its points: a light blur before it
    makes both good. The blur was fitted on photographs, against Lanczos' filter and the bicubic one: few taps are fast,
    and where they cut the Gaussian short it has to be wider.
    """
    across, down = extent[0] / wanted[0], extent[1] / wanted[1]
    ratio = max(across, down)
    reach = max(1, math.ceil(0.75 * ratio - 1))
    share = 0.35 if ratio < 2.1 else 0.45 if reach == 1 else 0.37
    blurred = cv2.GaussianBlur(pixels, (2 * reach + 1, 2 * reach + 1), share * ratio, dst=blurred)
    # by factors, not by the size: decoding at 1/2 gives a last pixel that is covered by half where the width is odd
    scaled = cv2.resize(blurred, None, fx=1 / across, fy=1 / down, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(scaled[: wanted[1], : wanted[0]])


def encoded(pixels: np.ndarray, quality: int) -> bytes:
    """A JPEG of the RGB pixels, its colours at half the size (4:2:0), as Pillow and OpenCV write it."""
    data: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")
    return data
