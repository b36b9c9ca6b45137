"""Any image's colours as 8-bit sRGB: first what can be resized, then, of that or of what it was resized to, RGB over
white."""

from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from openwit.images.header import U8

_WHITE = (255, 255, 255)
_MAX_PROFILE_BYTES = 3_000_000  # a printer's is 0.5 to 2.5 MB, a screen's 3 kB
_EIGHT_OF_SIXTEEN = np.round(np.arange(65536) / 257).astype(np.uint8)
_SRGB_LEVELS = 2  # what moves no colour further is sRGB by another name
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode → the profile's space


def eight_bits(values: npt.NDArray[np.uint16]) -> U8:
    """16 bits scaled to 8, as PNG's specification asks for (13.12): v * 255 / 65535, rounded; 200 becomes 1."""
    return _EIGHT_OF_SIXTEEN[values]


def resizable(image: Image.Image) -> Image.Image:
    """The decoded image in one of the modes L, LA, RGB, RGBA, CMYK, in which neighbours may be averaged; 16 bits
    are scaled to 8. Raises ValueError for pixels of no known range (32 bits, floating point)."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(eight_bits(np.asarray(image)))
    if image.mode == "I" and image.format == "PPM":
        return Image.fromarray(eight_bits(np.asarray(image).clip(0, 65535).astype(np.uint16)))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    if image.mode in ("LA", "RGBA"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of `resizable` as RGB over white, converted from its ICC profile to sRGB where that fits its mode; a
    profile that does not, or is damaged, is passed over, as browsers do."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.convert("L" if image.mode == "LA" else "RGB")
    transform = transform_to_srgb(profile, image.mode)
    if transform is not None:
        image = ImageCms.applyTransform(image, transform) or image
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha is None:
        return image
    paper = Image.new("RGB", image.size, _WHITE)
    paper.paste(image, mask=alpha)
    return paper


def transform_to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None where there is none to make: it gives sRGB already, is not of the mode's space,
    damaged, or missing."""
    return _transform(profile, mode) if profile and len(profile) <= _MAX_PROFILE_BYTES else None


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        )
        return None if mode == "RGB" and _moves_nothing(transform) else transform
    return None


def _moves_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether colours all over the cube stay where they are: names tell nothing, as "Linear sRGB" is none."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(len(levels), -1, 3)
    probe = Image.fromarray(cube)
    moved = np.asarray(ImageCms.applyTransform(probe, transform))
    return int(np.abs(moved.astype(np.int16) - cube).max()) <= _SRGB_LEVELS


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
