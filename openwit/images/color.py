"""Any image's colours as 8-bit sRGB: first what can be resized, then, of the small result, RGB over white."""

from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
from PIL import Image, ImageCms

_WHITE = (255, 255, 255, 255)
_MAX_PROFILE_BYTES = 3_000_000  # a printer's is 0.5 to 2.5 MB, a screen's 3 kB
_EIGHT_OF_SIXTEEN = np.round(np.arange(65536) / 257).astype(np.uint8)
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode → the profile's space


class UnsupportedPixels(ValueError):
    """Pixels whose range is not known (32 bits, floating point)."""


def resizable(image: Image.Image) -> Image.Image:
    """The decoded image in one of the modes L, LA, RGB, RGBA, CMYK, in which neighbours may be averaged; 16 bits
    are scaled to 8. Raises UnsupportedPixels."""
    if image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.mode in ("I", "F"):
        raise UnsupportedPixels(f"pixels of mode {image.mode} have no known range")
    transparency = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparency, tuple) and max(transparency) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in transparency)  # as Pillow cut the pixels
    if image.mode in ("LA", "RGBA"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    transparency = image.info.pop("transparency", None)
    grey = Image.fromarray(_EIGHT_OF_SIXTEEN[values])
    grey.info.update(image.info)
    if isinstance(transparency, int):
        grey.putalpha(Image.fromarray(np.where(values == transparency, 0, 255).astype(np.uint8)))
    return grey


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of `resizable` as RGB over white, converted from its ICC profile to sRGB where that fits its mode; a
    profile that does not, or is damaged, is passed over, as browsers do."""
    if image.mode in ("LA", "RGBA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, _WHITE), layer).convert("RGB")
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        transform = _transform(profile, image.mode)
        if transform is not None:
            converted = ImageCms.applyTransform(image, transform)
            return converted or image
    return image.convert("RGB")


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None where it is sRGB, not of the mode's space, or damaged."""
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        described = source.profile.profile_description or ""
        if source.profile.xcolor_space != _SPACES[mode] or "sRGB" in described:
            return None
        return ImageCms.buildTransform(
            source, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        )
    return None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
