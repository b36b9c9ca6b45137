"""Copies of an image as they are found on the web: the transforms by which the duplicate detector learns and by which
it is measured (paper, appendix C).

Each is a pure function of (image, strength, seed). An image is uint8 [H, W, 3], RGB. Strength 0 leaves it all but as
it is, strength 1 is the strongest; STRENGTHS are the three of evaluation. Every transform that has to make up pixels
draws its interpolation anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Draws = np.random.Generator

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
STRENGTHS = (1 / 3, 2 / 3, 1.0)
APPLIED = 0.5  # the share of transforms that a training copy goes through
SMALLEST_PX = 12  # no transform leaves a side shorter than this

MAX_CUT = 0.55  # share of a side that a crop takes away
MAX_STRETCH = 2.0  # of one side against the other
MAX_SHRINK = 10.0  # from a side to the side of an image that is made small and large again
MAX_ANGLE = 15.0  # degrees
JPEG_QUALITY = (90, 8)  # at strength 0 and at strength 1
MAX_HUE = 24.0  # degrees of the circle of hues
MAX_SATURATION = 0.7  # share by which saturation grows or falls
MAX_VALUE = 0.45  # share by which brightness grows or falls


def copy_of(image: Image, transform: str, strength: float, seed: int) -> Image:
    """The image after one of TRANSFORMS, uint8 [H', W', 3]. Raises KeyError for another name."""
    return TRANSFORMS[transform](image, strength, np.random.default_rng(seed))


def augment(image: Image, seed: int) -> Image:
    """A copy for training, uint8 [H', W', 3]: a random part of the transforms, one after the other, at random
    strengths."""
    draws = np.random.default_rng(seed)
    for transform in TRANSFORMS.values():
        if draws.random() < APPLIED:
            image = transform(image, draws.random(), draws)
    return image


def crop_and_zoom(image: Image, strength: float, draws: Draws) -> Image:
    """A rectangle of the same shape from anywhere in the image, enlarged to the image's size."""
    height, width = image.shape[:2]
    share = 1 - MAX_CUT * strength
    inner = (_side(height * share, height), _side(width * share, width))
    top, left = (int(draws.integers(0, whole - part + 1)) for whole, part in zip((height, width), inner, strict=True))
    return _resize(image[top : top + inner[0], left : left + inner[1]], width, height, draws)


def stretch(image: Image, strength: float, draws: Draws) -> Image:
    """The image longer in one direction and shorter in the other; its area stays."""
    height, width = image.shape[:2]
    factor = math.sqrt(MAX_STRETCH**strength)
    if draws.random() < 0.5:
        factor = 1 / factor
    return _resize(image, _side(width * factor), _side(height / factor), draws)


def rescale(image: Image, strength: float, draws: Draws) -> Image:
    """The image made small, and its old size again: both by an interpolation of its own."""
    height, width = image.shape[:2]
    factor = MAX_SHRINK**strength
    small = _resize(image, _side(width / factor, width), _side(height / factor, height), draws)
    return _resize(small, width, height, draws)


def rotate(image: Image, strength: float, draws: Draws) -> Image:
    """The image turned about its centre, zoomed so that no corner is empty; its size stays."""
    height, width = image.shape[:2]
    angle = MAX_ANGLE * strength * (1 if draws.random() < 0.5 else -1)
    cosine, sine = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    zoom = cosine + sine * max(width / height, height / width)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
    flag = _interpolation(draws)
    flag = cv2.INTER_LINEAR if flag == cv2.INTER_AREA else flag  # the area of a turned pixel is not offered
    turned = cv2.warpAffine(image, matrix, (width, height), flags=flag, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.uint8)


def jpeg(image: Image, strength: float, draws: Draws) -> Image:
    """The image after JPEG compression."""
    best, worst = JPEG_QUALITY
    quality = round(best + (worst - best) * strength)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def jitter_colors(image: Image, strength: float, draws: Draws) -> Image:
    """Hue turned, saturation and value scaled, each by as much as the strength says in a random direction."""
    hue, saturation, value = draws.choice((-1.0, 1.0), 3) * strength
    levels = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # OpenCV's hue is in half degrees
    steps = np.arange(256, dtype=np.float32)
    tables = (
        (steps + hue * MAX_HUE / 2) % 180,
        steps * (1 + saturation * MAX_SATURATION),
        steps * (1 + value * MAX_VALUE),
    )
    table = np.stack(tables, -1).round().clip(0, 255).astype(np.uint8)
    table[:, 0] %= 180
    return np.asarray(cv2.cvtColor(cv2.LUT(levels, table[None]), cv2.COLOR_HSV2RGB), np.uint8)


TRANSFORMS: dict[str, Callable[[Image, float, Draws], Image]] = {
    "crop": crop_and_zoom,
    "aspect": stretch,
    "rotation": rotate,
    "rescale": rescale,
    "color": jitter_colors,
    "jpeg": jpeg,
}


def _interpolation(draws: Draws) -> int:
    return tuple(INTERPOLATIONS.values())[int(draws.integers(len(INTERPOLATIONS)))]


def _side(pixels: float, most: int | None = None) -> int:
    side = max(SMALLEST_PX, round(pixels))
    return side if most is None else min(side, most)


def _resize(image: Image, width: int, height: int, draws: Draws) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=_interpolation(draws)), np.uint8)
