"""Images of a sample, from JPEG to the training crop.

A plain JPEG is decoded by libjpeg-turbo and resized by torch; all other images, and all that is not quite in order,
go Pillow's way, which is also the plain twin: the pixels are the same within 0.04 grey levels in the mean.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from models.preprocess import to_rgb
from openwit.errors import InputError
from openwit.shards.tar import Encoded

Pixels = npt.NDArray[np.uint8]
AnyPixels = Pixels | Tensor  # uint8 [H, W, 3]; a Tensor where a device decoded it
Size = tuple[int, int]  # height and width

PLAIN_SPACES = ("YCbCr", "Gray", "RGB")  # not the four colours of print
MAX_PLAIN_PIXELS = 1 << 26  # Pillow judges what is larger
REDUCING_GAP = 2  # with less left than twice the wanted pixels a side, the 8x8 blocks of a JPEG begin to tell
APP1, START_OF_SCAN, FILL = b"\xff\xe1", b"\xff\xda", b"\xff\xff"  # APP1 holds EXIF and XMP
BROKEN = (OSError, ValueError, SyntaxError, TypeError, struct.error, Image.DecompressionBombError)


def decode_resized(encoded: Encoded, resize_px: int, reduced: bool = True) -> Pixels:
    """uint8 [H, W, 3], the shorter side `resize_px`, antialiased bicubic. Raises InputError where it is no image.

    With `reduced`, a JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) that leaves twice the pixels that are
    wanted a side.
    """
    pixels = _decode_plain(encoded, resize_px, reduced)
    if pixels is None:
        return decode_carefully(encoded, resize_px, reduced)
    size = resized(pixels.shape[:2], resize_px)
    if size == pixels.shape[:2]:
        return pixels
    image_BCHW = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # channels last: torch's fast way, on one thread
    image_BCHW = F.interpolate(image_BCHW, size, mode="bicubic", antialias=True)
    shrunk: Pixels = image_BCHW[0].permute(1, 2, 0).numpy()
    return shrunk


def decode_carefully(encoded: Encoded, resize_px: int, reduced: bool = True) -> Pixels:
    """What `decode_resized` gives, by Pillow alone, which reads every kind of image and turns it upright."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            if reduced:
                scale = resize_px / min(opened.size) * REDUCING_GAP
                opened.draft(None, (round(opened.width * scale), round(opened.height * scale)))
            opened.load()
            image = to_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError:  # its own text holds an address, which differs from run to run
        raise InputError(f"not a readable image ({len(encoded)} bytes): unknown format") from None
    except BROKEN as error:
        raise InputError(f"not a readable image ({len(encoded)} bytes): {error}") from None
    height, width = resized((image.height, image.width), resize_px)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def plain_size(encoded: Encoded) -> Size | None:
    """The size of a JPEG that any decoder shows alike; None where Pillow must judge: other formats, colours of print,
    images to be turned, huge ones, and what is cut off."""
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    if space not in PLAIN_SPACES or height * width > MAX_PLAIN_PIXELS or not _is_upright(encoded):
        return None
    return height, width


def resized(size: Sequence[int], resize_px: int) -> Size:
    """The size of an image whose shorter side is made `resize_px`."""
    height, width = size
    shorter = min(height, width)
    return max(resize_px, height * resize_px // shorter), max(resize_px, width * resize_px // shorter)


def crop_square(pixels: AnyPixels, image_px: int, number: int) -> AnyPixels:
    """uint8 [image_px, image_px, 3], a view of the place that the 64 bits of `number` choose (the paper's only
    augmentation, section 2.5)."""
    height, width, _ = pixels.shape
    top = (number & 0xFFFFFFFF) % (height - image_px + 1)
    left = (number >> 32) % (width - image_px + 1)
    return pixels[top : top + image_px, left : left + image_px]


def _decode_plain(encoded: Encoded, resize_px: int, reduced: bool) -> Pixels | None:
    """uint8 [H, W, 3] of a plain JPEG, perhaps at reduced scale; None where Pillow must judge. The decoder is strict:
    it fills with grey what a damaged file lacks, but says so."""
    size = plain_size(encoded)
    if size is None:
        return None
    factor = _reduction(size, resize_px) if reduced else 1
    height, width = (-(-length // factor) for length in size)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(encoded, min_height=height, min_width=width, min_factor=factor)
    except ValueError:
        return None
    return pixels


def _reduction(size: Size, resize_px: int) -> int:
    """1, 2, 4 or 8: decoding keeps one of so many pixels a side. Pillow's draft chooses the same."""
    scale = resize_px / min(size) * REDUCING_GAP
    gap = min(length // round(length * scale) for length in size)
    return next(factor for factor in (8, 4, 2, 1) if gap >= factor or factor == 1)


def _is_upright(encoded: Encoded) -> bool:
    """Whether no note of the JPEG turns the image."""
    place = 2
    while (marker := encoded[place : place + 2]) != START_OF_SCAN:
        if marker[:1] != b"\xff" or marker in (APP1, FILL):
            return _orientation(encoded) == 1
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")
    return True


def _orientation(encoded: Encoded) -> int | None:
    """Which side is up, as EXIF or XMP says; None where it cannot be read."""
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            return int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except BROKEN:
        return None
